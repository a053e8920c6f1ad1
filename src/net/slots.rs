//! Connections by number. An id names a slot *and* how often the slot was used, so an event or timer for a
//! connection that is gone is recognised and dropped instead of reaching the next one in its place.
#![forbid(unsafe_code)]

/// Bits of an id that name the slot: 2^20 connections, and 12 bits of generation in a 32-bit `usize`.
const INDEX_BITS: u32 = 20;
const INDEX_MASK: u32 = (1 << INDEX_BITS) - 1;
/// Slots at most.
pub const MAX_SLOTS: usize = INDEX_MASK as usize - 32;

/// Name of one connection, valid until it closes and never reused soon after.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Id(u32);

impl Id {
    fn new(index: usize, generation: u32) -> Id {
        Id((generation << INDEX_BITS) | (index as u32 & INDEX_MASK))
    }

    fn index(self) -> usize {
        (self.0 & INDEX_MASK) as usize
    }

    /// The id as a poll token.
    pub fn token(self) -> usize {
        self.0 as usize
    }

    /// The id in a poll token.
    pub fn from_token(token: usize) -> Id {
        Id(token as u32)
    }
}

#[derive(Debug)]
struct Slot<T> {
    generation: u32,
    value: Option<T>,
}

/// Values by [`Id`].
#[derive(Debug)]
pub struct Slots<T> {
    slots: Vec<Slot<T>>,
    free: Vec<u32>,
}

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Slots { slots: Vec::new(), free: Vec::new() }
    }
}

impl<T> Slots<T> {
    /// Values held.
    pub fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Whether none is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Stores what `make` builds for its id; `None` when all slots are taken.
    pub fn insert_with(&mut self, make: impl FnOnce(Id) -> T) -> Option<Id> {
        let index = match self.free.pop() {
            Some(index) => index as usize,
            None if self.slots.len() < MAX_SLOTS => {
                self.slots.push(Slot { generation: 0, value: None });
                self.slots.len() - 1
            }
            None => return None,
        };
        let slot = self.slots.get_mut(index)?;
        let id = Id::new(index, slot.generation);
        slot.value = Some(make(id));
        Some(id)
    }

    fn slot(&self, id: Id) -> Option<&Slot<T>> {
        self.slots.get(id.index()).filter(|slot| Id::new(id.index(), slot.generation) == id)
    }

    /// The value of a live id.
    pub fn get(&self, id: Id) -> Option<&T> {
        self.slot(id)?.value.as_ref()
    }

    /// The value of a live id.
    pub fn get_mut(&mut self, id: Id) -> Option<&mut T> {
        self.slot(id)?;
        self.slots.get_mut(id.index())?.value.as_mut()
    }

    /// Takes the value out; the id is void from now on.
    pub fn remove(&mut self, id: Id) -> Option<T> {
        self.slot(id)?;
        let slot = self.slots.get_mut(id.index())?;
        let value = slot.value.take()?;
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(id.index() as u32);
        Some(value)
    }

    /// All live ids and values.
    pub fn iter(&self) -> impl Iterator<Item = (Id, &T)> {
        self.slots
            .iter()
            .enumerate()
            .filter_map(|(index, slot)| Some((Id::new(index, slot.generation), slot.value.as_ref()?)))
    }

    /// All live ids.
    pub fn ids(&self) -> Vec<Id> {
        self.iter().map(|(id, _)| id).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_of_a_closed_connection_does_not_reach_its_successor() {
        let mut slots = Slots::default();
        let old = slots.insert_with(|_| "old").unwrap();
        assert_eq!(slots.remove(old), Some("old"));
        let new = slots.insert_with(|_| "new").unwrap();
        assert_ne!(old, new);
        assert_eq!((slots.get(old), slots.get(new), slots.len()), (None, Some(&"new"), 1));
        assert_eq!(slots.remove(old), None);
        assert_eq!(Id::from_token(new.token()), new);
    }

    #[test]
    fn slots_are_used_again() {
        let mut slots = Slots::default();
        for n in 0..10_000 {
            let id = slots.insert_with(|_| n).unwrap();
            slots.remove(id);
        }
        assert_eq!(slots.slots.len(), 1);
    }
}
