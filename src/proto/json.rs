//! Messages as JSON, with the contract's field names, and what is false or empty said too.

use std::sync::LazyLock;

use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, SerializeOptions};

use super::DESCRIPTORS;

/// A message as JSON. `name` is the message's full name, such as `tokenward.v1.GetStatusResponse`.
///
/// # Panics
/// When the contract has no such message, or the message is not of that name.
pub fn value(name: &str, message: &impl Message) -> serde_json::Value {
    static POOL: LazyLock<DescriptorPool> =
        LazyLock::new(|| DescriptorPool::decode(DESCRIPTORS).expect("the build wrote these descriptors"));
    let descriptor = POOL.get_message_by_name(name).expect("the contract has this message");
    let mut dynamic = DynamicMessage::new(descriptor);
    dynamic.transcode_from(message).expect("a message fits its own descriptor");
    let options = SerializeOptions::new().use_proto_field_name(true).skip_default_fields(false);
    dynamic.serialize_with_options(serde_json::value::Serializer, &options).expect("times are within range")
}
