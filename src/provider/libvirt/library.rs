//! libvirt's library, loaded when libvirt is first asked something.
//!
//! It brings some fifty libraries along. Linked as usual, they would be loaded by every process of this program: by each
//! command line, and by the helper behind each command in a container, for 7 ms each. So what we use of it is defined here,
//! as jumps to where the real functions are found later; the linker then sees no need for the library. A function that
//! is missing from the list is linked as usual, which only costs those milliseconds (`tests/cli/usage.rs` notices).
//!
//! On other processors than x86-64 it is linked as usual.

use crate::provider::ProviderError;

/// Loads the library unless it is loaded. Before that nothing of `virt` may be called; [`super::connection`] sees to it.
///
/// # Errors
/// It is not installed, or too old.
pub fn load() -> Result<(), ProviderError> {
    #[cfg(target_arch = "x86_64")]
    return late::load().map_err(|words| ProviderError::Libvirt {
        words,
        remedy: Some("install it with `apt-get install libvirt0`".to_owned()),
    });
    #[cfg(not(target_arch = "x86_64"))]
    Ok(())
}

#[cfg(target_arch = "x86_64")]
mod late {
    use std::ffi::{CStr, c_void};
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicPtr, Ordering};

    /// The part for guest agents; it needs the other, so that both are found through it.
    const LIBRARY: &CStr = c"libvirt-qemu.so.0";

    struct Function {
        name: &'static CStr,
        found: &'static AtomicPtr<c_void>,
        /// What callers are linked with. Named here so that the linker takes it from this crate.
        _entry: extern "C" fn(),
    }

    /// In the place of a function that was not looked for yet.
    extern "C" fn not_loaded() {
        std::process::abort();
    }

    macro_rules! functions {
        ($($name:ident)*) => {
            #[allow(non_upper_case_globals, reason = "each has its function's name")]
            mod found {
                use super::{AtomicPtr, c_void, not_loaded};
                $(pub static $name: AtomicPtr<c_void> = AtomicPtr::new(not_loaded as *mut c_void);)*
            }

            $(
                /// Goes on in the real function: whatever the caller passed is where it was.
                #[allow(non_snake_case, reason = "C's name")]
                #[unsafe(naked)]
                #[unsafe(no_mangle)]
                extern "C" fn $name() {
                    std::arch::naked_asm!("jmp *{}(%rip)", sym found::$name, options(att_syntax))
                }
            )*

            static FUNCTIONS: &[Function] = &[$(Function {
                // SAFETY: the text ends with the only NUL in it.
                name: unsafe { CStr::from_bytes_with_nul_unchecked(concat!(stringify!($name), "\0").as_bytes()) },
                found: &found::$name,
                _entry: $name,
            }),*];
        };
    }

    functions! {
        virConnectClose virConnectGetLibVersion virConnectGetVersion virConnectIsAlive virConnectListAllDomains
        virConnectOpen virConnectRef
        virDomainAttachDeviceFlags virDomainCreate virDomainCreateXML virDomainDefineXML virDomainDestroy
        virDomainDetachDeviceFlags virDomainFree virDomainGetID virDomainGetInfo virDomainGetMetadata
        virDomainGetName virDomainGetState virDomainGetXMLDesc virDomainIsActive virDomainIsPersistent
        virDomainLookupByName virDomainOpenChannel virDomainOpenConsole virDomainQemuAgentCommand virDomainRef
        virDomainRestore virDomainResume virDomainSave virDomainSuspend virDomainUndefine virDomainUndefineFlags
        virGetLastError virSetErrorFunc
        virStreamAbort virStreamEventRemoveCallback virStreamFinish virStreamFree virStreamNew virStreamRecv virStreamRef
        virStreamSend
    }

    pub fn load() -> Result<(), String> {
        static LOADED: OnceLock<Result<(), String>> = OnceLock::new();
        LOADED.get_or_init(find).clone()
    }

    fn find() -> Result<(), String> {
        // SAFETY: the name is a string of C's; what the library does when it is loaded is libvirt's usual start.
        let library = unsafe { libc::dlopen(LIBRARY.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
        if library.is_null() {
            return Err("the library of libvirt is not installed".to_owned());
        }
        for function in FUNCTIONS {
            // SAFETY: the library stays loaded, and the name is a string of C's.
            let found = unsafe { libc::dlsym(library, function.name.as_ptr()) };
            if found.is_null() {
                return Err(format!("the installed libvirt is too old: it has no {}", function.name.to_string_lossy()));
            }
            function.found.store(found, Ordering::Release);
        }
        Ok(())
    }
}
