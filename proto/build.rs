//! Compiles the protocol with protox, so that no protoc is needed.

use std::{env, error::Error, fs, path::PathBuf};

use prost::Message as _;
use prost_types::{FileDescriptorSet, field_descriptor_proto::Type};

const FILES: [&str; 7] = [
    "outrigger/v1/message.proto",
    "outrigger/v1/producer.proto",
    "outrigger/v1/consumer.proto",
    "outrigger/v1/guard.proto",
    "outrigger/v1/saga.proto",
    "outrigger/v1/admin.proto",
    "outrigger/cluster/v1/cluster.proto",
];

/// Fields of type `Message` that the stored flavour keeps as encoded bytes.
const STORED_FIELDS: [&str; 4] = [
    "PrepareRequest.messages",
    "SendRequest.message",
    "Operation.send",
    "Delivery.message",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=outrigger");
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let descriptors = protox::compile(FILES, ["."])?;
    fs::write(out.join("outrigger.v1.bin"), descriptors.encode_to_vec())?;

    generate(descriptors.clone(), out.join("typed"))?;
    generate(with_stored_messages(descriptors), out.join("stored"))
}

fn generate(descriptors: FileDescriptorSet, out: PathBuf) -> Result<(), Box<dyn Error>> {
    fs::create_dir_all(&out)?;
    tonic_prost_build::configure()
        .bytes(".")
        .btree_map(".")
        .emit_rerun_if_changed(false)
        .out_dir(out)
        .compile_fds(descriptors)?;
    Ok(())
}

/// An embedded message and its encoded bytes look the same on the wire. The store keeps
/// messages encoded, so the server never has to decode and encode them again.
fn with_stored_messages(mut descriptors: FileDescriptorSet) -> FileDescriptorSet {
    for message in descriptors
        .file
        .iter_mut()
        .flat_map(|file| &mut file.message_type)
    {
        let owner = message.name().to_owned();
        for field in &mut message.field {
            if STORED_FIELDS.contains(&format!("{owner}.{}", field.name()).as_str()) {
                field.r#type = Some(Type::Bytes.into());
                field.type_name = None;
            }
        }
    }
    descriptors
}
