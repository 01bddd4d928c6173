//! The match: a trie with one level a segment. The most specific template wins whatever the order of registration: a literal
//! before `*` before `**`, and of two `**` the one with the longer tail. A branch that ends without the asked HTTP method is
//! left for the next one. Each node stands at one place of the path only, so a match visits no node twice. Targets that are not
//! shown to whoever asks are not there for them, neither in the match nor in what a refusal says.

use super::path::Segments;
use super::template::{Segment, Template};
use super::{Options, Refusal, Variables, escape};

/// A built router. Targets are the owner's numbers.
#[derive(Debug)]
pub struct Router {
    options: Options,
    nodes: Vec<Node>,
    /// Every verb of every template, sorted: a colon is a verb's only if what follows is one.
    verbs: Vec<Vec<u8>>,
}

#[derive(Debug, Default)]
struct Node {
    /// Sorted by text.
    literals: Vec<(Vec<u8>, usize)>,
    any: Option<usize>,
    /// For each length of the tail that follows a `**`, longest first: where the tail starts.
    deep: Vec<(usize, usize)>,
    ends: Vec<End>,
}

/// The routes whose template ends at a node.
#[derive(Debug)]
struct End {
    verb: Option<Vec<u8>>,
    /// HTTP method, `*` for each, and target.
    targets: Vec<(String, u32)>,
}

/// Another route has the same method and matches the same paths; its target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Occupied(pub u32);

/// A matched route.
#[derive(Clone, Debug)]
pub struct Found<'p> {
    pub target: u32,
    segments: Segments<'p>,
}

/// What is looked for, and what was met on the way.
struct Search<'a, 'p> {
    method: &'a str,
    segments: &'a Segments<'p>,
    verb: Option<&'a [u8]>,
    shows: &'a dyn Fn(u32) -> bool,
    /// The methods of templates that match the path.
    allow: Vec<&'a str>,
}

impl Router {
    #[must_use]
    pub fn new(options: Options) -> Self {
        Self { options, nodes: vec![Node::default()], verbs: Vec::new() }
    }

    /// Adds a route.
    ///
    /// # Errors
    /// When another route matches the same requests.
    pub fn add(&mut self, method: &str, template: &Template, target: u32) -> Result<(), Occupied> {
        let mut at = 0;
        for (index, segment) in template.segments.iter().enumerate() {
            at = self.child(at, segment, template.segments.len() - index - 1);
        }
        let ends = &mut self.nodes[at].ends;
        let position = ends.iter().position(|end| end.verb == template.verb).unwrap_or_else(|| {
            ends.push(End { verb: template.verb.clone(), targets: Vec::new() });
            ends.len() - 1
        });
        let targets = &mut ends[position].targets;
        if let Some((_, other)) = targets.iter().find(|(other, _)| other == method) {
            return Err(Occupied(*other));
        }
        targets.push((method.to_owned(), target));
        if let Some(verb) = &template.verb
            && let Err(position) = self.verbs.binary_search(verb)
        {
            self.verbs.insert(position, verb.clone());
        }
        Ok(())
    }

    /// The node that a segment leads to, made if it is not there. `tail` is how many segments follow.
    fn child(&mut self, at: usize, segment: &Segment, tail: usize) -> usize {
        let fresh = self.nodes.len();
        let node = &mut self.nodes[at];
        let child = match segment {
            Segment::Literal(text) => match node.literals.binary_search_by(|(other, _)| other.cmp(text)) {
                Ok(position) => node.literals[position].1,
                Err(position) => {
                    node.literals.insert(position, (text.clone(), fresh));
                    fresh
                }
            },
            Segment::Any => *node.any.get_or_insert(fresh),
            Segment::Deep => match node.deep.binary_search_by(|(other, _)| tail.cmp(other)) {
                Ok(position) => node.deep[position].1,
                Err(position) => {
                    node.deep.insert(position, (tail, fresh));
                    fresh
                }
            },
        };
        if child == fresh {
            self.nodes.push(Node::default());
        }
        child
    }

    /// Finds the route of a request among the targets that `shows` lets be seen. `path` is raw, without the query.
    ///
    /// # Errors
    /// Why there is none.
    pub fn find<'p>(
        &self,
        method: &str,
        path: &'p str,
        shows: &dyn Fn(u32) -> bool,
    ) -> Result<Found<'p>, Refusal> {
        if path.len() > usize::from(self.options.path_bytes_max) {
            return Err(Refusal::TooLong);
        }
        if !path.starts_with('/') {
            return Err(Refusal::UnknownPath);
        }
        escape::check(path)?;
        let path = match path.strip_suffix('/') {
            Some(stripped) if self.options.strip_trailing_slash && !stripped.is_empty() => stripped,
            _ => path,
        };
        if let Some((stem, verb)) = split_verb(path) {
            let verb = escape::decode_whole(verb);
            if self.options.match_unregistered_verb
                || self.verbs.binary_search_by(|v| v[..].cmp(&verb)).is_ok()
            {
                match self.search(method, stem, Some(&verb), shows) {
                    Err(Refusal::UnknownPath) if !self.options.match_unregistered_verb => {}
                    verdict => return verdict,
                }
            }
        }
        self.search(method, path, None, shows)
    }

    fn search<'p>(
        &self,
        method: &str,
        path: &'p str,
        verb: Option<&[u8]>,
        shows: &dyn Fn(u32) -> bool,
    ) -> Result<Found<'p>, Refusal> {
        let segments = Segments::cut(path).ok_or(Refusal::TooLong)?;
        let mut search = Search { method, segments: &segments, verb, shows, allow: Vec::new() };
        if let Some(target) = self.visit(0, 0, &mut search) {
            return Ok(Found { target, segments });
        }
        if search.allow.is_empty() {
            return Err(Refusal::UnknownPath);
        }
        if search.allow.contains(&"GET") {
            search.allow.push("HEAD");
        }
        // The edge answers it for every path that it knows: RFC 9110 section 9.3.7.
        search.allow.push("OPTIONS");
        search.allow.sort_unstable();
        search.allow.dedup();
        Err(Refusal::MethodNotAllowed { allow: search.allow.join(", ") })
    }

    /// Depth is bounded by the number of segments.
    fn visit<'a>(&'a self, at: usize, place: usize, search: &mut Search<'a, '_>) -> Option<u32> {
        let node = &self.nodes[at];
        let left = search.segments.len() - place;
        if left == 0 {
            if let Some(target) = node.end(search) {
                return Some(target);
            }
        } else {
            let segment = search.segments.decoded(place);
            if let Ok(position) = node.literals.binary_search_by(|(text, _)| text[..].cmp(segment))
                && let Some(target) = self.visit(node.literals[position].1, place + 1, search)
            {
                return Some(target);
            }
            if let Some(any) = node.any
                && !segment.is_empty()
                && let Some(target) = self.visit(any, place + 1, search)
            {
                return Some(target);
            }
        }
        let tails = node.deep.iter().filter(|(tail, _)| *tail <= left);
        tails.into_iter().find_map(|(tail, start)| self.visit(*start, search.segments.len() - tail, search))
    }

    /// The variables of a found route, by the template it was added with.
    ///
    /// # Errors
    /// When a value is not UTF-8.
    pub fn variables<'p>(&self, found: &Found<'p>, template: &Template) -> Result<Variables<'p>, Refusal> {
        let value = |variable| {
            let (start, end) = template.range(variable, found.segments.len());
            escape::decode_variable(
                found.segments.raw(start, end),
                template.is_single(variable),
                self.options.unescape,
            )
        };
        template.variables().iter().map(value).collect::<Result<_, _>>().map(Variables)
    }
}

impl Node {
    /// The target for the asked method among the templates that end here. GET answers HEAD where nothing else does.
    fn end<'a>(&'a self, search: &mut Search<'a, '_>) -> Option<u32> {
        let end = self.ends.iter().find(|end| end.verb.as_deref() == search.verb)?;
        let shown = |target: &(String, u32)| (search.shows)(target.1);
        let target = |method: &str| {
            let target = end.targets.iter().find(|(other, _)| other == method)?;
            shown(target).then_some(target.1)
        };
        let found = target(search.method)
            .or_else(|| if search.method == "HEAD" { target("GET") } else { None })
            .or_else(|| target("*"));
        if found.is_none() {
            let shown = end.targets.iter().filter(|target| shown(target));
            search.allow.extend(shown.map(|(method, _)| method.as_str()));
        }
        found
    }
}

/// Splits the verb off the last segment, if that has a colon with something behind it.
fn split_verb(path: &str) -> Option<(&str, &str)> {
    let (stem, verb) = path.rsplit_once(':')?;
    (!verb.is_empty() && !verb.contains('/')).then_some((stem, verb))
}
