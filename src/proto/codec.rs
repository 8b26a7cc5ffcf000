//! How messages are encoded: prost, with buffers of the size that messages have here.

use std::marker::PhantomData;

use prost::Message;
use tonic::codec::{BufferSettings, Codec};
use tonic_prost::{ProstCodec, ProstDecoder, ProstEncoder};

/// Room for one answer about a token, or one question; batches grow it. tonic would make 8 KiB for each of the two, which
/// a check that is answered from memory feels.
const BUFFER_BYTES: usize = 1024;
/// From so many bytes on, what is encoded of a stream goes out; as with tonic's own codec.
const YIELD_BYTES: usize = 32 * 1024;

/// tonic's codec for prost, but for the size of its buffers.
#[derive(Debug)]
pub struct Compact<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for Compact<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T: Message + Send + 'static, U: Message + Default + Send + 'static> Codec for Compact<T, U> {
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = ProstDecoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstCodec::<T, U>::raw_encoder(BufferSettings::new(BUFFER_BYTES, YIELD_BYTES))
    }

    fn decoder(&mut self) -> Self::Decoder {
        ProstCodec::<T, U>::raw_decoder(BufferSettings::new(BUFFER_BYTES, YIELD_BYTES))
    }
}
