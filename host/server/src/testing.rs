//! The ways in which settings are read, for the fuzz targets of this repository.

use leasehold::Policy;

/// Returns the policy with settings as the command line gives them, or the refusal in words.
pub fn settings_of_arguments(policy: Policy, settings: &[String]) -> Result<Policy, String> {
    crate::policy_source::with_settings(policy, "--setting", settings).map_err(|error| format!("{error:#}"))
}

/// Returns the settings of a query as `PUT /admin/policy` takes them, or the refusal in words.
pub fn settings_of_query(query: &str) -> Result<Vec<(String, String)>, String> {
    crate::routes::settings_of_query(query)
}
