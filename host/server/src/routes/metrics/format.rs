//! The two formats of the metrics: OpenMetrics for a scraper that asks for it, and Prometheus's own text for
//! all others.
//!
//! A page is written as OpenMetrics, and put into the older format line by line. They differ in what the name
//! of a family is (a counter's has its suffix in the older one), in a kind that the older one has not, and in
//! the last line.

use std::collections::HashMap;

use axum::http::header::ACCEPT;
use axum::http::{HeaderMap, HeaderValue};

/// A format of the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MetricsFormat {
    Prometheus,
    OpenMetrics,
}

impl MetricsFormat {
    /// Returns the format that is asked for. OpenMetrics has to be named, and to be wanted no less than text.
    pub(super) fn asked_for(headers: &HeaderMap) -> Self {
        let accepted = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
        let ranges: Vec<(&str, f32)> = accepted.flat_map(|value| value.split(',')).map(range).collect();
        let weight = |kind: &str| {
            let weights = ranges.iter().filter(|(range, _)| range.eq_ignore_ascii_case(kind));
            weights.map(|(_, weight)| *weight).fold(0.0, f32::max)
        };
        let (open, text) = (weight("application/openmetrics-text"), weight("text/plain"));
        if open > 0.0 && open >= text { Self::OpenMetrics } else { Self::Prometheus }
    }

    pub(super) fn content_type(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        })
    }

    /// Converts a page of OpenMetrics.
    pub(super) fn page(self, page: String) -> String {
        match self {
            Self::OpenMetrics => page,
            Self::Prometheus => to_prometheus(&page),
        }
    }
}

/// Reads one range of `Accept`: its kind, and its weight.
fn range(range: &str) -> (&str, f32) {
    let mut parts = range.split(';').map(str::trim);
    let kind = parts.next().unwrap_or_default();
    let weight = parts.find_map(|parameter| parameter.strip_prefix("q=").or(parameter.strip_prefix("Q=")));
    // A weight that is none is no reason to answer nothing.
    (kind, weight.map_or(1.0, |weight| weight.parse().unwrap_or(0.0)))
}

fn to_prometheus(page: &str) -> String {
    let types = page.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    let types: HashMap<&str, &str> = types.collect();
    let mut text = String::with_capacity(page.len() + page.len() / 8);
    for line in page.lines().filter(|line| *line != "# EOF") {
        let described =
            ["# HELP ", "# TYPE "].iter().find_map(|head| Some((*head, line.strip_prefix(head)?)));
        if let Some((head, (name, rest))) =
            described.and_then(|(head, rest)| Some((head, rest.split_once(' ')?)))
        {
            let (suffix, kind) = match types.get(name) {
                Some(&"counter") => ("_total", "counter"),
                Some(&"info") => ("_info", "gauge"),
                Some(kind) => ("", *kind),
                None => ("", "untyped"),
            };
            let rest = if head == "# TYPE " { kind } else { rest };
            text.extend([head, name, suffix, " ", rest, "\n"]);
        } else {
            text.extend([line, "\n"]);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_types_are_those_of_the_older_format() {
        let page = "# HELP a Things done\n# TYPE a counter\na_total{x=\"y\"} 1\n\
            # HELP b What is there\n# TYPE b gauge\nb 2\n\
            # HELP c What it is\n# TYPE c info\nc_info{name=\"# EOF\"} 1\n# EOF\n";
        let text = "# HELP a_total Things done\n# TYPE a_total counter\na_total{x=\"y\"} 1\n\
            # HELP b What is there\n# TYPE b gauge\nb 2\n\
            # HELP c_info What it is\n# TYPE c_info gauge\nc_info{name=\"# EOF\"} 1\n";
        assert_eq!(MetricsFormat::Prometheus.page(page.to_owned()), text);
        assert_eq!(MetricsFormat::OpenMetrics.page(page.to_owned()), page);
    }

    #[test]
    fn openmetrics_is_for_those_who_name_it() {
        let asked = |values: &[&'static str]| {
            let values = values.iter().map(|&value| (ACCEPT, HeaderValue::from_static(value)));
            MetricsFormat::asked_for(&values.collect())
        };
        for values in
            [&[][..], &["*/*"], &["application/*"], &["text/plain, application/openmetrics-text;q=0.9"]]
        {
            assert_eq!(asked(values), MetricsFormat::Prometheus, "{values:?}");
        }
        for refused in ["application/openmetrics-text;q=0", "application/openmetrics-text; q=x"] {
            assert_eq!(asked(&[refused]), MetricsFormat::Prometheus, "{refused}");
        }
        for values in [
            &["Application/OpenMetrics-Text; version=1.0.0"][..],
            &["text/html", "application/openmetrics-text;q=0.1"],
        ] {
            assert_eq!(asked(values), MetricsFormat::OpenMetrics, "{values:?}");
        }
    }
}
