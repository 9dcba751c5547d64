//! TEMPORARY
pub struct Permissions;
impl Permissions {
    pub fn id(&self) -> u32 { 1 }
    pub fn may_publish(&self, _: &[u8]) -> bool { true }
    pub fn may_subscribe(&self, _: &[u8], _: Option<&[u8]>) -> bool { true }
    pub fn filters_delivery(&self, _: &[u8], _: Option<&[u8]>) -> bool { false }
    pub fn denies_delivery(&self, _: &[u8]) -> bool { false }
    pub fn response_tracker(&self) -> Option<ResponseTracker> { None }
}
pub struct ResponseTracker;
impl ResponseTracker { pub fn allow(&mut self, _: &[u8], _: u64) {} pub fn take(&mut self, _: &[u8], _: u64) -> bool { false } }
