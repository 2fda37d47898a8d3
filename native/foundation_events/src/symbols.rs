//! Names of atoms, interned: event types and nodes.
//!
//! One table for the whole process, as atoms are; it never shrinks, as theirs does not.

use hashbrown::HashMap;
use parking_lot::RwLock;
use std::sync::{Arc, LazyLock};

/// An interned name.
pub type Symbol = u32;

#[derive(Default)]
struct Table {
    by_name: HashMap<Arc<str>, Symbol, ahash::RandomState>,
    names: Vec<Arc<str>>,
}

static TABLE: LazyLock<RwLock<Table>> = LazyLock::new(RwLock::default);

/// The symbol of a name, made when it is new. O(1).
pub fn intern(name: &str) -> Symbol {
    if let Some(symbol) = find(name) {
        return symbol;
    }
    let mut table = TABLE.write();
    if let Some(symbol) = table.by_name.get(name) {
        return *symbol;
    }
    let symbol = table.names.len() as Symbol;
    let name: Arc<str> = name.into();
    table.names.push(name.clone());
    table.by_name.insert(name, symbol);
    symbol
}

/// The symbol of a name, if anything has that name. O(1).
pub fn find(name: &str) -> Option<Symbol> {
    TABLE.read().by_name.get(name).copied()
}

/// The name of a symbol. O(1).
pub fn name(symbol: Symbol) -> Option<Arc<str>> {
    TABLE.read().names.get(symbol as usize).cloned()
}
