//! The cache in a program's traces: spans of operations that wait, nothing of hits, and no secret.

use std::fmt::{Debug, Write as _};
use std::sync::{Arc, Mutex};

use leasehold_tests::scripted::Scripted;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};

use super::id;

/// The spans of Leasehold and their fields, one a line and in their order.
#[derive(Clone, Default)]
struct Spans(Arc<Mutex<String>>);

struct Fields<'a>(&'a mut String);

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        write!(self.0, "{field}={value:?} ").expect("a string grows");
    }
}

impl<S: Subscriber> Layer<S> for Spans {
    fn on_new_span(&self, attributes: &Attributes<'_>, _: &Id, _: Context<'_, S>) {
        let metadata = attributes.metadata();
        if metadata.target() == "leasehold" {
            assert_eq!(*metadata.level(), Level::DEBUG);
            let mut spans = self.0.lock().unwrap();
            write!(spans, "{}: ", metadata.name()).expect("a string grows");
            attributes.record(&mut Fields(&mut spans));
        }
    }

    fn on_record(&self, _: &Id, values: &Record<'_>, _: Context<'_, S>) {
        values.record(&mut Fields(&mut self.0.lock().unwrap()));
    }
}

impl Spans {
    fn take(&self) -> String {
        std::mem::take(&mut *self.0.lock().unwrap()).trim().to_owned()
    }
}

#[tokio::test]
async fn a_miss_an_issue_a_heal_and_a_swap_are_spans_and_a_hit_is_none() {
    let database = Scripted::new();
    database.store("w", Some("s3cret"));
    database.store("null", None);
    let cache = super::cache(database.clone()).await;
    let spans = Spans::default();
    let _subscriber = tracing::subscriber::set_default(tracing_subscriber::registry().with(spans.clone()));
    tracing::callsite::rebuild_interest_cache();

    cache.read(&id("w")).await.expect("it is there");
    assert_eq!(spans.take(), "miss: workspace=w status=\"miss\"");
    cache.read(&id("w")).await.expect("it is there");
    cache.with(&id("w"), |_| ()).expect("a hit");
    assert!(cache.verify(&id("w"), b"s3cret").await.expect("a hit"));
    assert_eq!(spans.take(), "", "a hit pays for nothing");
    let issued = cache.issue(&id("w")).await.expect("it is there");
    let seen = spans.take();
    assert_eq!(seen, "issue: workspace=w");
    assert!(!seen.contains(issued.expose_str().expect("text")));
    assert!(cache.issue(&id("no row")).await.is_err());
    assert_eq!(spans.take(), "issue: workspace=no row error=the workspace has no row in the database");
    cache.read_or_issue(&id("null")).await.expect("it is healed");
    let expected =
        "miss: workspace=null error=the workspace has no secret heal: workspace=null status=\"healed\"";
    assert_eq!(spans.take(), expected);
    cache.on_behalf_of("a test").swap(cache.active().setting("ttl", "1m")).await.expect("it is good");
    assert_eq!(spans.take(), "swap: by=\"a test\"");
}
