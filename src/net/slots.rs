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

    /// The slot.
    pub fn index(self) -> usize {
        (self.0 & INDEX_MASK) as usize
    }

    fn is_of(self, generation: u32) -> bool {
        self.0 >> INDEX_BITS == (generation << INDEX_BITS) >> INDEX_BITS
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

/// Slots that get their memory together. It never moves: with one growing list, the copies that it leaves behind are
/// holes in the heap, and half of the last one is unused.
const BLOCK: usize = 64;

/// Values by [`Id`].
#[derive(Debug)]
pub struct Slots<T> {
    blocks: Vec<Vec<Slot<T>>>,
    free: Vec<u32>,
}

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Slots { blocks: Vec::new(), free: Vec::new() }
    }
}

impl<T> Slots<T> {
    /// Values held.
    pub fn len(&self) -> usize {
        self.made() - self.free.len()
    }

    /// Whether none is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Slots made so far; all blocks but the last are full.
    fn made(&self) -> usize {
        self.blocks.last().map_or(0, |last| (self.blocks.len() - 1) * BLOCK + last.len())
    }

    /// Stores what `make` builds for its id; `None` when all slots are taken.
    pub fn insert_with(&mut self, make: impl FnOnce(Id) -> T) -> Option<Id> {
        let index = match self.free.pop() {
            Some(index) => index as usize,
            None => self.another()?,
        };
        let slot = self.at_mut(index)?;
        let id = Id::new(index, slot.generation);
        slot.value = Some(make(id));
        Some(id)
    }

    fn another(&mut self) -> Option<usize> {
        let index = self.made();
        if index >= MAX_SLOTS {
            return None;
        }
        if self.blocks.last().is_none_or(|last| last.len() == BLOCK) {
            self.blocks.push(Vec::with_capacity(BLOCK));
        }
        self.blocks.last_mut()?.push(Slot { generation: 0, value: None });
        Some(index)
    }

    fn at(&self, index: usize) -> Option<&Slot<T>> {
        self.blocks.get(index / BLOCK)?.get(index % BLOCK)
    }

    fn at_mut(&mut self, index: usize) -> Option<&mut Slot<T>> {
        self.blocks.get_mut(index / BLOCK)?.get_mut(index % BLOCK)
    }

    /// The value of a live id.
    pub fn get(&self, id: Id) -> Option<&T> {
        self.at(id.index()).filter(|slot| id.is_of(slot.generation))?.value.as_ref()
    }

    /// The value of a live id.
    pub fn get_mut(&mut self, id: Id) -> Option<&mut T> {
        self.at_mut(id.index()).filter(|slot| id.is_of(slot.generation))?.value.as_mut()
    }

    /// Takes the value out; the id is void from now on.
    pub fn remove(&mut self, id: Id) -> Option<T> {
        let slot = self.at_mut(id.index()).filter(|slot| id.is_of(slot.generation))?;
        let value = slot.value.take()?;
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(id.index() as u32);
        Some(value)
    }

    /// All live ids and values.
    pub fn iter(&self) -> impl Iterator<Item = (Id, &T)> {
        let slots = self.blocks.iter().flatten();
        slots
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
        assert_eq!(slots.made(), 1);
    }

    #[test]
    fn all_are_found_across_blocks() {
        let mut slots = Slots::default();
        let ids: Vec<Id> = (0..1000).filter_map(|n| slots.insert_with(|_| n)).collect();
        assert_eq!((ids.len(), slots.len()), (1000, 1000));
        for id in ids.iter().step_by(3) {
            slots.remove(*id);
        }
        for (n, id) in ids.iter().enumerate() {
            assert_eq!(slots.get(*id), (n % 3 != 0).then_some(&n));
        }
        assert_eq!((slots.len(), slots.ids().len()), (666, 666));
        assert!(slots.iter().all(|(id, n)| ids[*n] == id));
    }
}
