//! gRPC server reflection: which services there are and what their messages look like, for tools such as grpcurl. Pure: one
//! question in, one answer out. A caller sees the services of which it may call a method on the listener it came in by, and the
//! files these need; a file is shown whole, for types are no secret to whoever may call with them.
//!
//! v1 and v1alpha have the same messages under two names, so one set of types serves both.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use chassis::call::Caller;
use prost_reflect::{DescriptorPool, EnumDescriptor, FileDescriptor, MessageDescriptor};
use tonic::Code;
use tonic_reflection::pb;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use tonic_reflection::pb::v1::{
    ErrorResponse, ExtensionNumberResponse, FileDescriptorResponse, ListServiceResponse,
    ServerReflectionRequest, ServerReflectionResponse, ServiceResponse,
};

use super::Access;
use crate::authz;
use crate::contract::{Contract, Method};
use crate::policy::Listener;

/// The methods served, by `:path`.
pub(super) const PATHS: [&str; 2] = [
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
];

/// Everything that can be asked about.
#[derive(Debug)]
pub struct Reflection {
    /// Who may ask at all.
    pub access: Access,
    files: HashMap<String, File>,
    /// The file of each full name.
    symbols: HashMap<String, String>,
    /// The file of each extension, by the message it extends and its number.
    extensions: BTreeMap<(String, i32), String>,
    /// The methods of each service, to know who may see it. Those of reflection itself are open to whoever gets here.
    services: BTreeMap<String, Vec<Arc<Method>>>,
}

#[derive(Debug)]
struct File {
    bytes: Bytes,
    imports: Vec<String>,
}

/// What one caller may know.
#[derive(Debug)]
pub struct View<'a> {
    all: &'a Reflection,
    services: BTreeSet<&'a str>,
    files: BTreeSet<&'a str>,
}

impl Reflection {
    pub(super) fn new(contract: &Contract, access: &Access) -> Self {
        let mut reflection = Self {
            access: access.clone(),
            files: HashMap::new(),
            symbols: HashMap::new(),
            extensions: BTreeMap::new(),
            services: BTreeMap::new(),
        };
        for file in contract.files() {
            reflection.add(file);
        }
        for method in contract.methods() {
            let methods = reflection.services.entry(method.service.to_string()).or_default();
            methods.push(Arc::clone(method));
        }
        // Constants of tonic-reflection; a test says that they can be read.
        for own in [pb::v1::FILE_DESCRIPTOR_SET, pb::v1alpha::FILE_DESCRIPTOR_SET] {
            let Ok(pool) = DescriptorPool::decode(own) else { continue };
            for file in pool.files() {
                reflection.add(&file);
            }
            for service in pool.services() {
                reflection.services.insert(service.full_name().to_owned(), Vec::new());
            }
        }
        reflection
    }

    /// Of files that two sets share, the first is shown.
    fn add(&mut self, file: &FileDescriptor) {
        if self.files.contains_key(file.name()) {
            return;
        }
        let name = file.name().to_owned();
        let imports = file.dependencies().map(|import| import.name().to_owned()).collect();
        // As the compiler wrote it: options that nobody here knows are still there.
        self.files.insert(name.clone(), File { bytes: file.encode_to_vec().into(), imports });
        let mut symbols = Vec::new();
        for service in file.services() {
            symbols.push(service.full_name().to_owned());
            symbols.extend(service.methods().map(|method| method.full_name().to_owned()));
        }
        file.messages().for_each(|message| message_symbols(&message, &mut symbols));
        file.enums().for_each(|values| enum_symbols(&values, &mut symbols));
        for extension in file.extensions() {
            symbols.push(extension.full_name().to_owned());
            let extended = extension.containing_message().full_name().to_owned();
            let number = i32::try_from(extension.number()).unwrap_or_default();
            self.extensions.insert((extended, number), name.clone());
        }
        self.symbols.extend(symbols.into_iter().map(|symbol| (symbol, name.clone())));
    }

    /// What `caller` may know on `listener`.
    #[must_use]
    pub fn view(&self, listener: Listener, caller: &Caller) -> View<'_> {
        let callable = |method: &Arc<Method>| {
            method.policy.visible_on(listener) && authz::admit(&method.policy, listener, caller).is_ok()
        };
        let services = self.services.iter();
        let services = services.filter(|(_, methods)| methods.is_empty() || methods.iter().any(callable));
        let services: BTreeSet<&str> = services.map(|(name, _)| name.as_str()).collect();
        let mut files = BTreeSet::new();
        let mut open: Vec<&str> =
            services.iter().filter_map(|service| self.symbols.get(*service)).map(String::as_str).collect();
        while let Some(name) = open.pop() {
            if files.insert(name) {
                let imports = self.files.get(name).map(|file| file.imports.as_slice()).unwrap_or_default();
                open.extend(imports.iter().map(String::as_str));
            }
        }
        View { all: self, services, files }
    }
}

fn message_symbols(message: &MessageDescriptor, symbols: &mut Vec<String>) {
    let mut open = vec![message.clone()];
    while let Some(message) = open.pop() {
        symbols.push(message.full_name().to_owned());
        symbols.extend(message.fields().map(|field| field.full_name().to_owned()));
        symbols.extend(message.oneofs().map(|oneof| oneof.full_name().to_owned()));
        message.child_enums().for_each(|values| enum_symbols(&values, symbols));
        open.extend(message.child_messages());
    }
}

fn enum_symbols(values: &EnumDescriptor, symbols: &mut Vec<String>) {
    symbols.push(values.full_name().to_owned());
    symbols.extend(values.values().map(|value| value.full_name().to_owned()));
}

impl View<'_> {
    /// Answers a question.
    #[must_use]
    pub fn answer(&self, request: ServerReflectionRequest) -> ServerReflectionResponse {
        let answer = match &request.message_request {
            None => Err((Code::InvalidArgument, "nothing was asked")),
            Some(MessageRequest::ListServices(_)) => Ok(self.list()),
            Some(MessageRequest::FileByFilename(name)) => self.file(Some(name)),
            Some(MessageRequest::FileContainingSymbol(symbol)) => {
                self.file(self.all.symbols.get(symbol.trim_start_matches('.')))
            }
            Some(MessageRequest::FileContainingExtension(asked)) => {
                let key = (asked.containing_type.trim_start_matches('.').to_owned(), asked.extension_number);
                self.file(self.all.extensions.get(&key))
            }
            Some(MessageRequest::AllExtensionNumbersOfType(name)) => self.extensions(name),
        };
        let answer = answer.unwrap_or_else(|(code, message)| {
            MessageResponse::ErrorResponse(ErrorResponse {
                error_code: code as i32,
                error_message: message.to_owned(),
            })
        });
        ServerReflectionResponse {
            valid_host: request.host.clone(),
            original_request: Some(request),
            message_response: Some(answer),
        }
    }

    fn list(&self) -> MessageResponse {
        let service = self.services.iter().map(|name| ServiceResponse { name: (*name).to_owned() }).collect();
        MessageResponse::ListServicesResponse(ListServiceResponse { service })
    }

    /// What the caller may not see does not exist.
    fn file(&self, name: Option<&String>) -> Result<MessageResponse, (Code, &'static str)> {
        let name = name.filter(|name| self.files.contains(name.as_str()));
        let file = name.and_then(|name| self.all.files.get(name)).ok_or((Code::NotFound, "not found"))?;
        Ok(MessageResponse::FileDescriptorResponse(FileDescriptorResponse {
            file_descriptor_proto: vec![file.bytes.to_vec()],
        }))
    }

    fn extensions(&self, name: &str) -> Result<MessageResponse, (Code, &'static str)> {
        let name = name.trim_start_matches('.');
        self.file(self.all.symbols.get(name))?;
        let of = self.all.extensions.iter().filter(|((extended, _), _)| extended == name);
        let seen = of.filter(|(_, file)| self.files.contains(file.as_str()));
        Ok(MessageResponse::AllExtensionNumbersResponse(ExtensionNumberResponse {
            base_type_name: name.to_owned(),
            extension_number: seen.map(|((_, number), _)| *number).collect(),
        }))
    }
}
