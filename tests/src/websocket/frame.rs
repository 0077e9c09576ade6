//! A frame as it stands on the wire, whether the rules allow it or not.

/// A piece of a message that goes on.
pub const CONTINUATION: u8 = 0;
/// A message of JSON.
pub const TEXT: u8 = 1;
/// A message of Protobuf.
pub const BINARY: u8 = 2;
/// The end of one side.
pub const CLOSE: u8 = 8;
/// A question for a sign of life.
pub const PING: u8 = 9;
/// The answer to it.
pub const PONG: u8 = 10;

const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// A frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Whether it is the last of its message.
    pub fin: bool,
    /// The three reserved bits.
    pub reserved: u8,
    /// What it is.
    pub opcode: u8,
    /// Whether it is masked, as those of clients must be.
    pub masked: bool,
    /// What it holds, without the mask.
    pub payload: Vec<u8>,
}

impl Frame {
    /// A whole message or control frame, as a client sends it.
    pub fn new(opcode: u8, payload: impl Into<Vec<u8>>) -> Self {
        Self { fin: true, reserved: 0, opcode, masked: true, payload: payload.into() }
    }

    /// A frame after which its message goes on.
    pub fn unfinished(opcode: u8, payload: impl Into<Vec<u8>>) -> Self {
        Self { fin: false, ..Self::new(opcode, payload) }
    }

    /// A close frame with a code.
    pub fn close(code: u16) -> Self {
        Self::new(CLOSE, code.to_be_bytes())
    }

    /// Its bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.claiming(self.payload.len() as u64)
    }

    /// Its bytes, with a length in the header that need not be true.
    pub fn claiming(&self, len: u64) -> Vec<u8> {
        let mask_bit = u8::from(self.masked) << 7;
        let mut bytes = vec![u8::from(self.fin) << 7 | self.reserved << 4 | self.opcode];
        match len {
            0..126 => bytes.push(mask_bit | len as u8),
            126..65_536 => {
                bytes.push(mask_bit | 126);
                bytes.extend_from_slice(&(len as u16).to_be_bytes());
            }
            _ => {
                bytes.push(mask_bit | 127);
                bytes.extend_from_slice(&len.to_be_bytes());
            }
        }
        if self.masked {
            bytes.extend_from_slice(&MASK);
            bytes.extend(self.payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        } else {
            bytes.extend_from_slice(&self.payload);
        }
        bytes
    }

    /// The code of a close frame; 1005 if it has none.
    pub fn code(&self) -> u16 {
        self.payload.first_chunk().map_or(1005, |code| u16::from_be_bytes(*code))
    }

    /// The frame at the beginning of some bytes, and how many of them are its own.
    pub fn parse(bytes: &[u8]) -> Option<(Self, usize)> {
        let [first, second, rest @ ..] = bytes else { return None };
        let (len, begin) = match second & 0x7f {
            126 => (u64::from(u16::from_be_bytes(*rest.first_chunk()?)), 4),
            127 => (u64::from_be_bytes(*rest.first_chunk()?), 10),
            short => (u64::from(short), 2),
        };
        let end = begin + usize::try_from(len).ok()?;
        let frame = Frame {
            fin: first & 0x80 != 0,
            reserved: (first & 0x70) >> 4,
            opcode: first & 0x0f,
            masked: second & 0x80 != 0,
            payload: bytes.get(begin..end)?.to_vec(),
        };
        Some((frame, end))
    }
}
