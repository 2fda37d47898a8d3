//! Resources and calls without what rustler adds for every call: a hash look-up for the resource's type, and a vector
//! of the arguments. A call of some ten nanoseconds feels both.

use rustler::sys::{
    ErlNifEnv, ErlNifResourceFlags, ErlNifResourceType, ErlNifTerm, c_void, enif_alloc_resource,
    enif_get_resource, enif_make_resource, enif_open_resource_type, enif_release_resource,
};
use rustler::{Env, Error, NifResult, Term};
use std::ffi::CStr;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

/// The type of a resource, known once the library is loaded.
pub(crate) type Slot = AtomicPtr<ErlNifResourceType>;

/// Something that Erlang holds a reference to.
pub(crate) trait Held: Send + Sync + Sized + 'static {
    /// The name of the resource type.
    const NAME: &'static CStr;

    /// Where the type is kept.
    fn slot() -> &'static Slot;
}

/// Makes a type something that Erlang can hold a reference to, under a name; a NIF may take `&Type` for it.
macro_rules! held {
    ($type:ty, $name:expr) => {
        impl $crate::handle::Held for $type {
            const NAME: &'static ::std::ffi::CStr = $name;

            fn slot() -> &'static $crate::handle::Slot {
                static SLOT: $crate::handle::Slot = $crate::handle::Slot::new(::std::ptr::null_mut());
                &SLOT
            }
        }

        impl<'a> ::rustler::Decoder<'a> for &'a $type {
            fn decode(term: ::rustler::Term<'a>) -> ::rustler::NifResult<Self> {
                $crate::handle::get(term)
            }
        }
    };
}

pub(crate) use held;

/// The alignment that memory of the VM has for certain.
const ALIGNED: usize = 8;

unsafe extern "C" fn destroy<T: Held>(_env: *mut ErlNifEnv, object: *mut c_void) {
    // SAFETY: the VM calls this once, with an object of this type that `make` has written.
    unsafe { ptr::drop_in_place(object.cast::<T>()) }
}

/// Registers the type; only while the library is being loaded.
pub(crate) fn open<T: Held>(env: Env<'_>) -> bool {
    const { assert!(align_of::<T>() <= ALIGNED) };
    let flags = ErlNifResourceFlags::ERL_NIF_RT_CREATE;
    // SAFETY: called from the load callback; the name is a C string that lives for ever.
    let opened = unsafe {
        enif_open_resource_type(
            env.as_c_arg(),
            ptr::null(),
            T::NAME.as_ptr(),
            Some(destroy::<T>),
            flags,
            ptr::null_mut(),
        )
    };
    T::slot().store(opened.cast_mut(), Ordering::Release);
    !opened.is_null()
}

/// A reference to `value` for Erlang, which drops it with the last of its references.
pub(crate) fn make<T: Held>(env: Env<'_>, value: T) -> Term<'_> {
    let kind = T::slot().load(Ordering::Acquire);
    // SAFETY: the type was opened when the library was loaded; the object is written before anyone sees it, and the
    // term holds the only reference once ours is released.
    unsafe {
        let object = enif_alloc_resource(kind, size_of::<T>());
        object.cast::<T>().write(value);
        let term = enif_make_resource(env.as_c_arg(), object);
        enif_release_resource(object);
        Term::new(env, term)
    }
}

/// What the term refers to; it lives as long as the term does.
#[inline]
pub(crate) fn get<'a, T: Held>(term: Term<'a>) -> NifResult<&'a T> {
    let mut object = ptr::null();
    // SAFETY: the VM checks that the term is a resource of that type, and `make` wrote an object into each of them.
    unsafe {
        let kind = T::slot().load(Ordering::Relaxed);
        if enif_get_resource(term.get_env().as_c_arg(), term.as_c_arg(), kind, &raw mut object) == 0 {
            return Err(Error::BadArg);
        }
        Ok(&*object.cast::<T>())
    }
}

/// One argument of a call. The VM has just written them one by one; read two at a time, as the compiler would, they
/// are not taken from the store buffer, and each such read waits for some five nanoseconds.
///
/// # Safety
/// `argv` must hold more than `i` terms.
#[inline(always)]
pub(crate) unsafe fn argument(argv: *const ErlNifTerm, i: usize) -> ErlNifTerm {
    // SAFETY: as the caller promises.
    unsafe { ptr::read_volatile(argv.add(i)) }
}

/// Has the processor fetch the cache line of that address to write to it, while it goes on with something else. Any
/// address will do. Fetched to be read, a line that another core has written last would be asked for twice.
#[inline(always)]
pub(crate) fn fetch(address: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch changes nothing that the program can see and does not fault; where a processor does not know
    // this one, it is no operation.
    unsafe {
        std::arch::asm!("prefetchw [{}]", in(reg) address, options(nostack, preserves_flags));
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

/// As [`fetch`], for what is only read, so that other cores may keep it.
#[inline(always)]
pub(crate) fn fetch_to_read(address: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch changes nothing that the program can see and does not fault.
    unsafe {
        std::arch::asm!("prefetcht0 [{}]", in(reg) address, options(nostack, preserves_flags));
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

/// Defines a NIF on a normal scheduler from a function of the environment and an array of its arguments. `first` is
/// asked before, with the bare words; when it says true the answer is `:ok`, and else it must have done nothing.
/// `large` names a second NIF, on a dirty CPU scheduler, for what has no bound. `@` and a scheduler before the name
/// put it there.
macro_rules! fast_nif {
    ($name:literal, $arity:literal, $function:path $(, first: $first:path)?) => {
        $crate::handle::fast_nif!(@Normal, $name, $arity, $function $(, first: $first)?);
    };
    ($name:literal, $arity:literal, $function:path, large: $large:literal, $dirty:path) => {
        $crate::handle::fast_nif!(@Normal, $name, $arity, $function);
        $crate::handle::fast_nif!(@DirtyCpu, $large, $arity, $dirty);
    };
    (@$scheduler:ident, $name:literal, $arity:literal, $function:path $(, first: $first:path)?) => {
        rustler::codegen_runtime::inventory::submit!(rustler::Nif {
            name: concat!($name, "\0")
                .as_ptr()
                .cast::<rustler::codegen_runtime::c_char>(),
            arity: $arity,
            flags: rustler::SchedulerFlags::$scheduler as rustler::codegen_runtime::c_uint,
            raw_func: {
                unsafe extern "C" fn call(
                    env: *mut rustler::sys::ErlNifEnv,
                    _argc: rustler::codegen_runtime::c_int,
                    argv: *const rustler::sys::ErlNifTerm,
                ) -> rustler::sys::ErlNifTerm {
                    let lifetime = ();
                    // SAFETY: the VM passes a valid environment and as many arguments as the arity says.
                    unsafe {
                        let env = rustler::Env::new(&lifetime, env);
                        $(
                            let words: [rustler::sys::ErlNifTerm; $arity] =
                                std::array::from_fn(|i| $crate::handle::argument(argv, i));
                            if let Ok(true) = std::panic::catch_unwind(|| $first(env, words)) {
                                return rustler::Term::as_c_arg(&rustler::types::atom::ok().to_term(env));
                            }
                        )?
                        let args: [rustler::Term<'_>; $arity] = std::array::from_fn(|i| {
                            rustler::Term::new(env, $crate::handle::argument(argv, i))
                        });
                        match std::panic::catch_unwind(|| $function(env, args)) {
                            Ok(Ok(term)) => rustler::Term::as_c_arg(&term),
                            other => rustler::codegen_runtime::handle_nif_result(other, env).apply(env),
                        }
                    }
                }
                call
            },
        });
    };
}
pub(crate) use fast_nif;
