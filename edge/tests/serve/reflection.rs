//! gRPC reflection at the edge: who may ask, what they see, and that it is enough to make calls from.

use prost::Message as _;
use prost_reflect::DescriptorPool;
use tonic::Code;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use tonic_reflection::pb::v1::{ExtensionRequest, ServerReflectionRequest, ServerReflectionResponse};

use crate::client::Grpc;
use crate::world::World;

const V1: &str = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
const V1ALPHA: &str = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo";

async fn ask(
    world: &World,
    path: &'static str,
    scopes: &str,
    questions: Vec<MessageRequest>,
) -> Result<Vec<MessageResponse>, tonic::Status> {
    let grpc = Grpc::new(world, Some(world.token_for(scopes, 600)));
    let questions = questions
        .into_iter()
        .map(|question| ServerReflectionRequest { host: "edge".to_owned(), message_request: Some(question) });
    let answers =
        grpc.streaming::<_, ServerReflectionResponse>(path, futures::stream::iter(questions)).await?;
    let mut answers = answers.into_inner();
    let mut found = Vec::new();
    while let Some(answer) = answers.message().await? {
        assert_eq!(answer.original_request.unwrap().host, "edge");
        found.push(answer.message_response.unwrap());
    }
    Ok(found)
}

async fn services(world: &World, scopes: &str) -> Vec<String> {
    let answers = ask(world, V1, scopes, vec![MessageRequest::ListServices(String::new())]).await.unwrap();
    let [MessageResponse::ListServicesResponse(list)] = &answers[..] else { panic!("{answers:?}") };
    list.service.iter().map(|service| service.name.clone()).collect()
}

fn code(answer: &MessageResponse) -> i32 {
    let MessageResponse::ErrorResponse(error) = answer else { panic!("{answer:?}") };
    error.error_code
}

#[tokio::test(flavor = "multi_thread")]
async fn tools_see_what_their_caller_may_call() {
    let world = World::new().await;
    let own = ["grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection"];
    assert_eq!(
        services(&world, "staff.read notes.read").await,
        ["echo.v1.EchoService", "foreign.Greeter", own[0], own[1]]
    );
    // Anyone may ask the echo service who they are, so everyone sees it.
    assert_eq!(services(&world, "staff.read").await.len(), 4);

    for path in [V1, V1ALPHA] {
        let by_symbol = |symbol: &str| MessageRequest::FileContainingSymbol(symbol.to_owned());
        let names = [
            "echo.v1.EchoService",
            "echo.v1.EchoService.GetNote",
            "echo.v1.Note",
            "echo.v1.Note.text",
            ".echo.v1.Note",
        ];
        let answers = ask(&world, path, "staff.read", names.map(by_symbol).to_vec()).await.unwrap();
        assert!(answers.iter().all(|answer| *answer == answers[0]), "one file has them all");
        let pool = pool(&world, path, &answers[0]).await;
        let method = pool.get_service_by_name("echo.v1.EchoService").unwrap().methods().next().unwrap();
        assert_eq!(method.name(), "GetNote");
        assert!(
            method.options().extensions().any(|(extension, _)| extension.full_name() == "google.api.http")
        );

        let questions = vec![
            by_symbol("echo.v1.Nothing"),
            MessageRequest::FileByFilename("nothing.proto".to_owned()),
            MessageRequest::AllExtensionNumbersOfType("google.protobuf.MethodOptions".to_owned()),
            MessageRequest::FileContainingExtension(ExtensionRequest {
                containing_type: "google.protobuf.MethodOptions".to_owned(),
                extension_number: 50501,
            }),
        ];
        let answers = ask(&world, path, "staff.read", questions).await.unwrap();
        assert_eq!((code(&answers[0]), code(&answers[1])), (5, 5));
        let MessageResponse::AllExtensionNumbersResponse(numbers) = &answers[2] else {
            panic!("{answers:?}")
        };
        assert!(numbers.extension_number.contains(&50501) && numbers.extension_number.contains(&72_295_728));
        assert!(matches!(answers[3], MessageResponse::FileDescriptorResponse(_)));
    }
}

/// A pool of a file and all it imports, asked for one by one.
async fn pool(world: &World, path: &'static str, first: &MessageResponse) -> DescriptorPool {
    let file = |answer: &MessageResponse| {
        let MessageResponse::FileDescriptorResponse(file) = answer else { panic!("{answer:?}") };
        file.file_descriptor_proto[0].clone()
    };
    let mut found = std::collections::BTreeMap::new();
    let mut open = vec![file(first)];
    while let Some(bytes) = open.pop() {
        let parsed = prost_types::FileDescriptorProto::decode(&*bytes).unwrap();
        if found.insert(parsed.name().to_owned(), bytes).is_none() {
            for import in parsed.dependency {
                let question = MessageRequest::FileByFilename(import);
                open.push(file(&ask(world, path, "staff.read", vec![question]).await.unwrap()[0]));
            }
        }
    }
    let mut set = Vec::new();
    for bytes in found.values() {
        prost::encoding::bytes::encode(1, bytes, &mut set);
    }
    DescriptorPool::decode(&*set).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn reflection_is_for_staff_and_can_be_switched_off() {
    let list = || vec![MessageRequest::ListServices(String::new())];
    let world = World::new().await;
    let refused = ask(&world, V1, "notes.read", list()).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    let nobody = Grpc::new(&world, None);
    let question = ServerReflectionRequest { host: String::new(), message_request: None };
    let questions = futures::stream::iter([question.clone()]);
    let refused = nobody.streaming::<_, ServerReflectionResponse>(V1, questions).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    // A unary call is a stream of one question and one answer.
    let staff = Grpc::new(&world, Some(world.token_for("staff.read", 600)));
    let answer: ServerReflectionResponse = staff.unary(V1, question).await.unwrap().into_inner();
    assert_eq!(code(&answer.message_response.unwrap()), 3);
    drop(world);

    let world = World::with(|config| config + "\n[builtin.reflection]\nenabled = false\n").await;
    let refused = ask(&world, V1, "staff.read", list()).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unimplemented);
}
