//! `google.api.http` rules into flat bindings: one HTTP method, one template, body and response body each. The rule's own
//! grammar is checked here; whether its names exist is checked by `transcode`.

use super::config::HttpRule;
use crate::route::Template;

/// One binding of a rule.
#[derive(Debug)]
pub struct FlatRule {
    pub http_method: String,
    pub template: Template,
    pub body: String,
    pub response_body: String,
}

/// A rule that cannot be served, and the template at fault.
#[derive(Debug)]
pub struct RuleError {
    pub template: String,
    pub problem: String,
}

/// Flattens a rule and its additional bindings, which may not have any of their own.
pub fn flatten(rule: &HttpRule) -> Result<Vec<FlatRule>, RuleError> {
    let mut flat = vec![single(rule)?];
    for additional in &rule.additional_bindings {
        let binding = single(additional)?;
        if !additional.additional_bindings.is_empty() {
            let template = binding.template.text().to_owned();
            return Err(RuleError {
                template,
                problem: "additional_bindings inside additional_bindings".into(),
            });
        }
        flat.push(binding);
    }
    Ok(flat)
}

fn single(rule: &HttpRule) -> Result<FlatRule, RuleError> {
    let verbs = [
        ("GET", &rule.get),
        ("PUT", &rule.put),
        ("POST", &rule.post),
        ("DELETE", &rule.delete),
        ("PATCH", &rule.patch),
    ];
    let mut patterns: Vec<(&str, &str)> =
        verbs.into_iter().filter_map(|(verb, path)| Some((verb, path.as_deref()?))).collect();
    if let Some(custom) = &rule.custom {
        patterns.push((&custom.kind, &custom.path));
    }
    let [(http_method, text)] = patterns[..] else {
        let template = patterns.first().map(|(_, path)| (*path).to_owned()).unwrap_or_default();
        return Err(RuleError {
            template,
            problem: "a binding has exactly one HTTP method and template".into(),
        });
    };
    let fail = |problem: String| RuleError { template: text.to_owned(), problem };
    if http_method != "*" && http::Method::from_bytes(http_method.as_bytes()).is_err() {
        return Err(fail(format!("\"{http_method}\" is not an HTTP method")));
    }
    if rule.response_body == "*" {
        return Err(fail("response_body names a field; for the whole message leave it out".into()));
    }
    Ok(FlatRule {
        http_method: http_method.to_owned(),
        template: Template::parse(text).map_err(|error| fail(error.to_string()))?,
        body: rule.body.clone(),
        response_body: rule.response_body.clone(),
    })
}
