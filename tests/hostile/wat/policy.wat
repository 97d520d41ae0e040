;; A policy in bare WebAssembly, with the whole world of the contract and no toolchain between it and the host: what the
;; types of the SDK do not let through is written here by hand. The functions of the module $guest are filled in by
;; `tests/src/hostile.rs`: those of the hostile guest, and an honest one in place of each that it does not write.
(component
  (import "leasehold:policy/types@0.1.0" (instance $types
    (export "secret" (type (sub resource)))
    (type $error (enum "unavailable" "timeout" "unknown-workspace" "overloaded"))
    (export "database-error" (type (eq $error)))
    (type $mode (enum "rotate" "heal"))
    (export "issue-mode" (type (eq $mode)))
    (export "[method]secret.obtained-at" (func (param "self" (borrow 0)) (result u64)))))
  (alias export $types "secret" (type $secret))
  (alias export $types "database-error" (type $database-error))
  (alias export $types "issue-mode" (type $issue-mode))
  (import "leasehold:policy/clock@0.1.0" (instance $clock (export "now" (func (result u64)))))
  (import "leasehold:policy/database@0.1.0" (instance $database
    (alias outer 1 $secret (type $outer-secret))
    (export "secret" (type $secret (eq $outer-secret)))
    (alias outer 1 $database-error (type $outer-error))
    (export "database-error" (type $error (eq $outer-error)))
    (alias outer 1 $issue-mode (type $outer-mode))
    (export "issue-mode" (type $mode (eq $outer-mode)))
    (export "select" (func (result (result (option (own $secret)) (error $error)))))
    (export "issue" (func (param "mode" $mode) (result (result (own $secret) (error $error)))))))
  (import "leasehold:policy/entry@0.1.0" (instance $entry
    (alias outer 1 $secret (type $outer-secret))
    (export "secret" (type $secret (eq $outer-secret)))
    (type $lease-record (record
      (field "refresh-after" u64) (field "fresh-until" u64) (field "watched-until" u64) (field "keep-until" u64)))
    (export "lease" (type $lease (eq $lease-record)))
    (type $snapshot-record (record
      (field "value" (option (own $secret))) (field "obtained-at" u64) (field "lease" $lease)))
    (export "snapshot" (type $snapshot (eq $snapshot-record)))
    (export "get" (func (result (option $snapshot))))
    (export "put" (func (param "value" (option (borrow $secret))) (param "lease" $lease)))
    (export "remove" (func))))
  (import "leasehold:policy/log@0.1.0" (instance $log
    (type $level-enum (enum "debug" "info" "warn" "error"))
    (export "level" (type $level (eq $level-enum)))
    (export "write" (func (param "level" $level) (param "message" string)))))

  ;; The memory comes first, because the imports are lowered into it. What lowering calls back is here as well.
  (core func $now (canon lower (func $clock "now")))
  (core module $ground
    (import "clock" "now" (func $now (result i64)))
    (memory (export "memory") {{pages}})
    (global $next (mut i32) (i32.const 8192))
    {{realloc}})
  (core instance $ground (instantiate $ground
    (with "clock" (instance (export "now" (func $now))))))
  (alias core export $ground "memory" (core memory $memory))
  (alias core export $ground "realloc" (core func $realloc))

  (core func $select (canon lower (func $database "select") (memory $memory)))
  (core func $issue (canon lower (func $database "issue") (memory $memory)))
  (core func $get (canon lower (func $entry "get") (memory $memory)))
  (core func $put (canon lower (func $entry "put")))
  (core func $remove (canon lower (func $entry "remove")))
  (core func $write (canon lower (func $log "write") (memory $memory)))
  (core func $obtained-at (canon lower (func $types "[method]secret.obtained-at")))
  (core func $drop (canon resource.drop $secret))
  ;; A resource of the policy's own, so that it has handles that are no secrets.
  (type $own (resource (rep i32)))
  (core func $new-own (canon resource.new $own))

  ;; Addresses: 64 the answer of an import, 192 the answer of an export, 1024 texts, 2048 the marker, 8192 the heap.
  (core module $guest
    (import "host" "memory" (memory 0))
    (import "host" "now" (func $now (result i64)))
    (import "host" "select" (func $select (param i32)))
    (import "host" "issue" (func $database-issue (param i32 i32)))
    (import "host" "get" (func $get (param i32)))
    (import "host" "put" (func $put (param i32 i32 i64 i64 i64 i64)))
    (import "host" "remove" (func $remove))
    (import "host" "write" (func $write (param i32 i32 i32)))
    (import "host" "obtained-at" (func $obtained-at (param i32) (result i64)))
    (import "host" "drop" (func $drop (param i32)))
    (import "host" "new-own" (func $new-own (param i32) (result i32)))
    (global $kept (mut i32) (i32.const 0))
    (global $described (mut i32) (i32.const 0))
    (data (i32.const 1024) "wat0.0.0A policy without a toolchain.")
    (data (i32.const 1088) "setting")
    ;; What `describe` returns: three texts and a list of one setting, each as its address and length.
    (data (i32.const 1152)
      "\00\04\00\00\03\00\00\00" "\03\04\00\00\05\00\00\00" "\08\04\00\00\1d\00\00\00"
      "\a0\04\00\00\01\00\00\00"
      "\40\04\00\00\07\00\00\00" "\40\04\00\00\00\00\00\00" "\40\04\00\00\00\00\00\00")
    (data (i32.const 2048) "{{marker}}")

    ;; Lays bare the marker by which the scanner finds this memory: it stands nowhere else.
    (func $begin
      (local $at i32)
      (loop $next
        (i32.store8 offset=2048 (local.get $at)
          (i32.xor (i32.load8_u offset=2048 (local.get $at)) (i32.const 0x5a)))
        (br_if $next (i32.lt_u (local.tee $at (i32.add (local.get $at) (i32.const 1))) (i32.const 16))))
      (call $start))
    (start $begin)
    ;; Calls that an honest guest makes of its imports, for those that are honest in part.
    (func $select-into-answer (result i32)
      (call $select (i32.const 192))
      (i32.const 192))
    (func $put-for-ever (param $handle i32)
      (call $put (i32.const 1) (local.get $handle)
        (i64.const -1) (i64.const -1) (i64.const -1) (i64.const -1)))
    (func $for-ever (loop $again (br $again)))
    {{functions}})
  (core instance $guest (instantiate $guest
    (with "host" (instance
      (export "memory" (memory $memory))
      (export "now" (func $now))
      (export "select" (func $select))
      (export "issue" (func $issue))
      (export "get" (func $get))
      (export "put" (func $put))
      (export "remove" (func $remove))
      (export "write" (func $write))
      (export "obtained-at" (func $obtained-at))
      (export "drop" (func $drop))
      (export "new-own" (func $new-own))))))
  {{component}}

  (type $setting (record (field "name" string) (field "default" string) (field "doc" string)))
  (type $description (record
    (field "name" string) (field "version" string) (field "summary" string)
    (field "settings" (list $setting))))
  (func $describe (result $description) (canon lift (core func $guest "describe")
    (memory $memory) (realloc $realloc)))
  (func $configure (param "settings" (list (tuple string string))) (result (result (error string)))
    (canon lift (core func $guest "configure") (memory $memory) (realloc $realloc)))
  (func $read (param "workspace" string) (result (result (option (own $secret)) (error $database-error)))
    (canon lift (core func $guest "read") (memory $memory) (realloc $realloc)
      (post-return (core func $guest "after-read"))))
  (func $issue-out (param "workspace" string) (param "mode" $issue-mode)
    (result (result (own $secret) (error $database-error)))
    (canon lift (core func $guest "issue") (memory $memory) (realloc $realloc)))

  (component $control-face
    (type $setting' (record (field "name" string) (field "default" string) (field "doc" string)))
    (import "setting" (type $setting (eq $setting')))
    (type $description' (record
      (field "name" string) (field "version" string) (field "summary" string) (field "settings" (list $setting))))
    (import "description" (type $description (eq $description')))
    (import "describe" (func $describe (result $description)))
    (import "configure" (func $configure
      (param "settings" (list (tuple string string))) (result (result (error string)))))
    (export $setting-out "setting" (type $setting))
    (type $description-of (record
      (field "name" string) (field "version" string) (field "summary" string) (field "settings" (list $setting-out))))
    (export $description-out "description" (type $description-of))
    (export "describe" (func $describe) (func (result $description-out)))
    (export "configure" (func $configure)))
  (instance $control (instantiate $control-face
    (with "setting" (type $setting))
    (with "description" (type $description))
    (with "describe" (func $describe))
    (with "configure" (func $configure))))
  (export "leasehold:policy/control@0.1.0" (instance $control))

  (component $policy-face
    (import "secret" (type $secret (sub resource)))
    (type $error' (enum "unavailable" "timeout" "unknown-workspace" "overloaded"))
    (import "error" (type $error (eq $error')))
    (type $mode' (enum "rotate" "heal"))
    (import "mode" (type $mode (eq $mode')))
    (import "read" (func $read
      (param "workspace" string) (result (result (option (own $secret)) (error $error)))))
    (import "issue" (func $issue
      (param "workspace" string) (param "mode" $mode) (result (result (own $secret) (error $error)))))
    (export $secret-out "secret" (type $secret))
    (export $error-out "database-error" (type $error))
    (export $mode-out "issue-mode" (type $mode))
    (export "read" (func $read) (func
      (param "workspace" string) (result (result (option (own $secret-out)) (error $error-out)))))
    (export "issue" (func $issue) (func
      (param "workspace" string) (param "mode" $mode-out) (result (result (own $secret-out) (error $error-out))))))
  (instance $policy (instantiate $policy-face
    (with "secret" (type $secret))
    (with "error" (type $database-error))
    (with "mode" (type $issue-mode))
    (with "read" (func $read))
    (with "issue" (func $issue-out))))
  (export "leasehold:policy/policy@0.1.0" (instance $policy)))
