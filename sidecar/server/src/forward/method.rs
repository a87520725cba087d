//! Which calls only the leader answers, and which of them may be made twice.

/// How a call that only the leader can answer is passed to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// One request, one answer: kept until it is answered, and repeated as [`Repeat`] says.
    Unary(Repeat),
    /// The Publish stream: its unanswered requests are kept and repeated at the next leader.
    Publish,
    /// A stream that is passed as it is, and ends when the leader changes.
    Stream,
}

/// When a call may be made again although an earlier attempt got no answer.
///
/// An attempt that surely was not taken (nobody listened, or the node said that it does not
/// lead) is always followed by another one. The question is what to do when it may have been
/// taken: the connection broke after the request was sent, or the leader itself does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeat {
    /// Twice has the effect of once: the call carries an id, a receipt or a token, or only
    /// reads.
    Harmless,
    /// Twice may do it twice. The caller is told OUTCOME_UNKNOWN and has to decide.
    NeverAfterSending,
}

use Repeat::{Harmless, NeverAfterSending};

/// Begins the path of every call of applications.
const APPLICATIONS: &str = "/outrigger.v1.";
/// Begins the path of every call about sagas, which every process answers itself.
pub(super) const SAGAS: &str = "/outrigger.v1.Saga/";

impl Method {
    /// What the table says of a gRPC path; `None` for what every process answers itself.
    ///
    /// | call | repeated after it was sent | why |
    /// |---|---|---|
    /// | Prepare, Resolve | yes | idempotent by the transaction's id |
    /// | Send | no | nothing tells the second message from the first |
    /// | Receive | no | an answer that was lost holds leases until they expire |
    /// | Ack, Nack, Extend | yes | a receipt names one lease; one that is over is refused |
    /// | guards: Acquire, Extend, Complete, Release | yes | by token; a Release that is repeated may be answered "not held", as it is then |
    /// | guards: Increment | no | it counts |
    /// | CreateTopic, CreateConsumerGroup | yes | what exists stays as it is |
    /// | UpdateTopic | yes | what it sets is set |
    /// | lists, descriptions, Health, Waiting | yes | they only read |
    /// | Forward, between data groups | yes | messages are numbered |
    /// | Sagas: Read, List, Definitions | yes | they only read |
    /// | Sagas: Submit | no | acts by hand are among the commands, and the second one is refused |
    /// | DecideTransaction, ResumeTransaction | no | the second one is refused, as if the first one had failed |
    /// | Add, Remove, Replace, Transfer | no | an operator looks first |
    #[must_use]
    pub fn of(path: &str) -> Option<Self> {
        let method = match path {
            "/outrigger.v1.Producer/Publish" => Self::Publish,
            "/outrigger.v1.Producer/CheckBack" | "/outrigger.v1.Consumer/Consume" => Self::Stream,
            "/outrigger.v1.Producer/Prepare"
            | "/outrigger.v1.Producer/Resolve"
            | "/outrigger.v1.Consumer/Ack"
            | "/outrigger.v1.Consumer/Nack"
            | "/outrigger.v1.Consumer/Extend"
            | "/outrigger.v1.Guard/Acquire"
            | "/outrigger.v1.Guard/Extend"
            | "/outrigger.v1.Guard/Complete"
            | "/outrigger.v1.Guard/Release"
            | "/outrigger.v1.Admin/CreateTopic"
            | "/outrigger.v1.Admin/UpdateTopic"
            | "/outrigger.v1.Admin/ListTopics"
            | "/outrigger.v1.Admin/DescribeTopic"
            | "/outrigger.v1.Admin/CreateConsumerGroup"
            | "/outrigger.v1.Admin/ListConsumerGroups"
            | "/outrigger.v1.Admin/DescribeConsumerGroup"
            | "/outrigger.v1.Admin/ListTransactions"
            | "/outrigger.v1.Admin/ShowTransaction"
            | "/outrigger.v1.Admin/Health"
            | "/outrigger.cluster.v1.Cluster/Waiting"
            | "/outrigger.cluster.v1.Groups/Forward"
            | "/outrigger.cluster.v1.Sagas/Read"
            | "/outrigger.cluster.v1.Sagas/List"
            | "/outrigger.cluster.v1.Sagas/Definitions" => Self::Unary(Harmless),
            "/outrigger.v1.Producer/Send"
            | "/outrigger.v1.Consumer/Receive"
            | "/outrigger.v1.Guard/Increment"
            | "/outrigger.v1.Admin/DecideTransaction"
            | "/outrigger.v1.Admin/ResumeTransaction"
            | "/outrigger.cluster.v1.Sagas/Submit"
            | "/outrigger.cluster.v1.Cluster/Add"
            | "/outrigger.cluster.v1.Cluster/Remove"
            | "/outrigger.cluster.v1.Cluster/Replace"
            | "/outrigger.cluster.v1.Cluster/Transfer" => Self::Unary(NeverAfterSending),
            sagas if sagas.starts_with(SAGAS) => return None,
            // A call that is newer than this process.
            newer if newer.starts_with(APPLICATIONS) => Self::Stream,
            _ => return None,
        };
        Some(method)
    }
}

#[cfg(test)]
mod tests {
    use outrigger_proto::FILE_DESCRIPTOR_SET;
    use prost::Message as _;
    use prost_types::FileDescriptorSet;

    use super::*;
    use crate::serve::grpc::SERVED;

    #[test]
    fn every_call_of_applications_is_in_the_table_as_what_it_is() {
        let files = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).expect("descriptors");
        let mut seen = 0;
        for file in &files.file {
            if file.package() != "outrigger.v1" {
                continue;
            }
            for service in &file.service {
                let name = format!("outrigger.v1.{}", service.name());
                if !SERVED.contains(&name.as_str()) {
                    continue;
                }
                for call in &service.method {
                    let path = format!("/outrigger.v1.{}/{}", service.name(), call.name());
                    let streams = call.client_streaming() || call.server_streaming();
                    let method = Method::of(&path);
                    let fits = match method {
                        None => path.starts_with(SAGAS),
                        Some(Method::Unary(_)) => !streams,
                        Some(Method::Publish | Method::Stream) => streams,
                    };
                    assert!(fits, "{path}: {method:?}");
                    seen += 1;
                }
            }
        }
        assert!(seen > 20, "only {seen} calls were found");
    }

    #[test]
    fn what_would_happen_twice_is_not_repeated() {
        for path in [
            "/outrigger.v1.Producer/Send",
            "/outrigger.v1.Consumer/Receive",
            "/outrigger.v1.Guard/Increment",
            "/outrigger.v1.Admin/DecideTransaction",
            "/outrigger.v1.Admin/ResumeTransaction",
            "/outrigger.cluster.v1.Sagas/Submit",
        ] {
            assert_eq!(
                Method::of(path),
                Some(Method::Unary(NeverAfterSending)),
                "{path}"
            );
        }
    }

    #[test]
    fn every_process_answers_for_itself_who_it_is_and_about_sagas() {
        for path in [
            "/outrigger.cluster.v1.Cluster/Status",
            "/outrigger.cluster.v1.Cluster/Digest",
            "/outrigger.cluster.v1.Cluster/ReadQueue",
            "/outrigger.cluster.v1.Peers/Exchange",
            "/outrigger.v1.Saga/Start",
            "/outrigger.v1.Saga/Retry",
            "/grpc.health.v1.Health/Check",
            "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        ] {
            assert_eq!(Method::of(path), None, "{path}");
        }
    }
}
