//! SQLite's side of a [`Disk`]: a file system that SQLite calls through C, and the random numbers of SQLite and of the standard library.
//! The only place with `unsafe`: these are C interfaces of which there is no safe form.
//!
//! It does what SQLite's file system for Unix does where that matters to a power cut: a new journal or log is followed by its directory
//! when it is first synced, a deletion where SQLite asks for it.

use std::{
    collections::BTreeMap,
    ffi::{CStr, c_char, c_int, c_void},
    path::PathBuf,
    sync::{Arc, LazyLock, Mutex, MutexGuard, Once, PoisonError},
};

use rusqlite::ffi;

use crate::disk::{Disk, Fault, Inode};

/// The name that SQLite knows the file system by.
pub const VFS: &str = "durable-sim";
const VFS_NAME: &CStr = c"durable-sim";
const MAX_PATH: c_int = 256;
/// As SQLite for Unix assumes.
const SECTOR_SIZE: c_int = 4096;

type Shared = Arc<Mutex<Disk>>;
static DISKS: LazyLock<Mutex<BTreeMap<u64, Shared>>> = LazyLock::new(Mutex::default);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A disk that SQLite can open files on, until this is dropped and the files are closed.
pub struct Mount {
    id: u64,
    disk: Shared,
}

impl Mount {
    pub fn new(disk: Disk) -> Mount {
        static REGISTERED: Once = Once::new();
        REGISTERED.call_once(register);
        let mut disks = lock(&DISKS);
        let id = disks.last_key_value().map_or(0, |(last, _)| last + 1);
        let disk = Arc::new(Mutex::new(disk));
        disks.insert(id, disk.clone());
        Mount { id, disk }
    }

    /// What SQLite calls the file `name`.
    pub fn path(&self, name: &str) -> PathBuf {
        // Of one length, so that nothing depends on how many disks there were.
        format!("/{:016x}/{name}", self.id).into()
    }

    pub fn disk(&self) -> MutexGuard<'_, Disk> {
        lock(&self.disk)
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        lock(&DISKS).remove(&self.id);
    }
}

/// From here on SQLite's random numbers follow from `seed`, in the whole process.
pub fn seed_sqlite(seed: i32) {
    // SAFETY: this test control takes an int, 0 being "none", and a connection, which may be null.
    unsafe { ffi::sqlite3_test_control(ffi::SQLITE_TESTCTRL_PRNG_SEED, seed.max(1), std::ptr::null_mut::<ffi::sqlite3>()) };
}

#[cfg(target_os = "linux")]
std::thread_local! {
    static ENTROPY: std::cell::RefCell<Option<crate::chance::Chance>> = const { std::cell::RefCell::new(None) };
}

/// From here on what this thread takes from the system as random follows from `seed`; on Linux. The maps of the standard library are why:
/// the order in which one is encoded depends on keys that a thread draws before its first map.
pub fn seed_thread(seed: u64) {
    #[cfg(target_os = "linux")]
    ENTROPY.set(Some(crate::chance::Chance::new(seed)));
    #[cfg(not(target_os = "linux"))]
    let _ = seed;
}

/// Stands before the C library's function of this name in every program that the simulator is linked into.
///
/// # Safety
/// As for the C library's: `target` has `length` bytes.
#[cfg(target_os = "linux")]
#[unsafe(no_mangle)]
unsafe extern "C" fn getrandom(target: *mut c_void, length: usize, flags: std::ffi::c_uint) -> isize {
    if length == 0 {
        return 0;
    }
    // SAFETY: as the caller promises.
    let target = unsafe { std::slice::from_raw_parts_mut(target.cast::<u8>(), length) };
    let seeded = ENTROPY.with_borrow_mut(|entropy| {
        let chance = entropy.as_mut()?;
        target.iter_mut().for_each(|byte| *byte = chance.number() as u8);
        Some(length)
    });
    let flags = rustix::rand::GetRandomFlags::from_bits_truncate(flags);
    match seeded.map_or_else(|| rustix::rand::getrandom(target, flags), Ok) {
        Ok(count) => count as isize,
        // Without an error number: callers then take another source, or try again.
        Err(_) => -1,
    }
}

/// What SQLite allocates for each file; it only looks at the first field.
#[repr(C)]
struct RawFile {
    base: ffi::sqlite3_file,
    open: *mut OpenFile,
}

struct OpenFile {
    disk: Shared,
    inode: Inode,
    /// Its name is new: the first sync is one of the directory too.
    syncs_directory: bool,
    /// Deleted when closed.
    name: Option<String>,
}

static METHODS: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
    iVersion: 1,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    xLock: Some(lock_file),
    xUnlock: Some(lock_file),
    xCheckReservedLock: Some(check_reserved_lock),
    xFileControl: Some(file_control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(device_characteristics),
    xShmMap: None,
    xShmLock: None,
    xShmBarrier: None,
    xShmUnmap: None,
    xFetch: None,
    xUnfetch: None,
};

fn register() {
    let vfs = ffi::sqlite3_vfs {
        iVersion: 1,
        szOsFile: size_of::<RawFile>() as c_int,
        mxPathname: MAX_PATH,
        pNext: std::ptr::null_mut(),
        zName: VFS_NAME.as_ptr(),
        pAppData: std::ptr::null_mut(),
        xOpen: Some(open),
        xDelete: Some(delete),
        xAccess: Some(access),
        xFullPathname: Some(full_pathname),
        xDlOpen: None,
        xDlError: None,
        xDlSym: None,
        xDlClose: None,
        xRandomness: Some(randomness),
        xSleep: Some(sleep),
        xCurrentTime: Some(current_time),
        xGetLastError: None,
        xCurrentTimeInt64: None,
        xSetSystemCall: None,
        xGetSystemCall: None,
        xNextSystemCall: None,
    };
    // SAFETY: SQLite keeps the pointer for ever, so the table is leaked; it is registered once, and not as the default.
    let code = unsafe { ffi::sqlite3_vfs_register(Box::leak(Box::new(vfs)), 0) };
    assert_eq!(code, ffi::SQLITE_OK, "SQLite takes the file system");
}

/// The disk and the file's name, out of what [`Mount::path`] made.
///
/// # Safety
/// `name` is null or a C string.
unsafe fn locate(name: *const c_char) -> Option<(Shared, String)> {
    if name.is_null() {
        return None;
    }
    // SAFETY: as the caller promises.
    let name = unsafe { CStr::from_ptr(name) }.to_str().ok()?;
    let (id, name) = name.strip_prefix('/')?.split_once('/')?;
    let disk = lock(&DISKS).get(&u64::from_str_radix(id, 16).ok()?).cloned()?;
    Some((disk, name.to_owned()))
}

fn code(result: Result<(), Fault>, broken: c_int) -> c_int {
    match result {
        Ok(()) => ffi::SQLITE_OK,
        Err(Fault::Full) => ffi::SQLITE_FULL,
        Err(Fault::Broken) => broken,
    }
}

unsafe extern "C" fn open(
    _: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out: *mut c_int,
) -> c_int {
    let raw = file.cast::<RawFile>();
    // SAFETY: SQLite gives `szOsFile` bytes for the file, and looks at the methods also when opening has failed: none means it is not open.
    unsafe { (*raw).base.pMethods = std::ptr::null() };
    // SAFETY: SQLite's names are C strings, or null for a temporary file.
    let Some((disk, name)) = (unsafe { locate(name) }) else { return ffi::SQLITE_CANTOPEN };
    let kind = flags & (ffi::SQLITE_OPEN_MAIN_JOURNAL | ffi::SQLITE_OPEN_SUPER_JOURNAL | ffi::SQLITE_OPEN_WAL);
    let (inode, is_new) = {
        let mut disk = lock(&disk);
        match disk.find(&name) {
            Some(inode) => (inode, false),
            None if flags & ffi::SQLITE_OPEN_CREATE == 0 => return ffi::SQLITE_CANTOPEN,
            None => match disk.create(&name) {
                Ok(inode) => (inode, true),
                Err(fault) => return code(Err(fault), ffi::SQLITE_CANTOPEN),
            },
        }
    };
    let deletes = flags & ffi::SQLITE_OPEN_DELETEONCLOSE != 0;
    let opened = OpenFile { disk, inode, syncs_directory: is_new && kind != 0, name: deletes.then_some(name) };
    // SAFETY: as above; `close` takes the box back. `out` is null or points to an int.
    unsafe {
        (*raw).open = Box::into_raw(Box::new(opened));
        (*raw).base.pMethods = &METHODS;
        if !out.is_null() {
            *out = flags;
        }
    }
    ffi::SQLITE_OK
}

/// The file behind SQLite's pointer.
///
/// # Safety
/// `file` was opened by `open` and is not closed; SQLite uses a file on one thread at a time.
unsafe fn opened<'a>(file: *mut ffi::sqlite3_file) -> &'a mut OpenFile {
    // SAFETY: as the caller promises.
    unsafe { &mut *(*file.cast::<RawFile>()).open }
}

unsafe extern "C" fn close(file: *mut ffi::sqlite3_file) -> c_int {
    let raw = file.cast::<RawFile>();
    // SAFETY: the box is the one that `open` leaked, and SQLite closes a file once.
    let opened = unsafe { Box::from_raw((*raw).open) };
    if let Some(name) = &opened.name {
        let _ = lock(&opened.disk).delete(name);
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn read(file: *mut ffi::sqlite3_file, target: *mut c_void, length: c_int, at: i64) -> c_int {
    // SAFETY: SQLite's file is open, and its buffer has `length` bytes.
    let (file, target) = unsafe { (opened(file), std::slice::from_raw_parts_mut(target.cast::<u8>(), length as usize)) };
    let found = lock(&file.disk).read(file.inode, at as usize, target);
    target[found..].fill(0);
    if found == target.len() { ffi::SQLITE_OK } else { ffi::SQLITE_IOERR_SHORT_READ }
}

unsafe extern "C" fn write(file: *mut ffi::sqlite3_file, source: *const c_void, length: c_int, at: i64) -> c_int {
    // SAFETY: SQLite's file is open, and its buffer has `length` bytes.
    let (file, source) = unsafe { (opened(file), std::slice::from_raw_parts(source.cast::<u8>(), length as usize)) };
    code(lock(&file.disk).write(file.inode, at as usize, source), ffi::SQLITE_IOERR_WRITE)
}

unsafe extern "C" fn truncate(file: *mut ffi::sqlite3_file, size: i64) -> c_int {
    // SAFETY: SQLite's file is open.
    let file = unsafe { opened(file) };
    code(lock(&file.disk).truncate(file.inode, size as usize), ffi::SQLITE_IOERR_TRUNCATE)
}

unsafe extern "C" fn sync(file: *mut ffi::sqlite3_file, _: c_int) -> c_int {
    // SAFETY: SQLite's file is open.
    let file = unsafe { opened(file) };
    let mut disk = lock(&file.disk);
    let synced = disk.sync(file.inode).and_then(|()| if file.syncs_directory { disk.sync_directory() } else { Ok(()) });
    file.syncs_directory &= synced.is_err();
    code(synced, ffi::SQLITE_IOERR_FSYNC)
}

unsafe extern "C" fn file_size(file: *mut ffi::sqlite3_file, size: *mut i64) -> c_int {
    // SAFETY: SQLite's file is open and `size` points to a number.
    unsafe {
        let file = opened(file);
        *size = lock(&file.disk).size(file.inode) as i64;
    }
    ffi::SQLITE_OK
}

/// Nobody else has the disk.
unsafe extern "C" fn lock_file(_: *mut ffi::sqlite3_file, _: c_int) -> c_int {
    ffi::SQLITE_OK
}

unsafe extern "C" fn check_reserved_lock(_: *mut ffi::sqlite3_file, result: *mut c_int) -> c_int {
    // SAFETY: `result` points to an int.
    unsafe { *result = 0 };
    ffi::SQLITE_OK
}

unsafe extern "C" fn file_control(_: *mut ffi::sqlite3_file, _: c_int, _: *mut c_void) -> c_int {
    ffi::SQLITE_NOTFOUND
}

unsafe extern "C" fn sector_size(_: *mut ffi::sqlite3_file) -> c_int {
    SECTOR_SIZE
}

/// What SQLite for Unix says too: a write that is torn spoils nothing beside it.
unsafe extern "C" fn device_characteristics(_: *mut ffi::sqlite3_file) -> c_int {
    ffi::SQLITE_IOCAP_POWERSAFE_OVERWRITE
}

unsafe extern "C" fn delete(_: *mut ffi::sqlite3_vfs, name: *const c_char, syncs_directory: c_int) -> c_int {
    // SAFETY: SQLite's names are C strings.
    let Some((disk, name)) = (unsafe { locate(name) }) else { return ffi::SQLITE_IOERR_DELETE };
    let mut disk = lock(&disk);
    match disk.delete(&name) {
        Ok(false) => ffi::SQLITE_IOERR_DELETE_NOENT,
        Ok(true) if syncs_directory & 1 != 0 => code(disk.sync_directory(), ffi::SQLITE_IOERR_DIR_FSYNC),
        result => code(result.map(drop), ffi::SQLITE_IOERR_DELETE),
    }
}

unsafe extern "C" fn access(_: *mut ffi::sqlite3_vfs, name: *const c_char, flags: c_int, result: *mut c_int) -> c_int {
    // SAFETY: SQLite's names are C strings and `result` points to an int.
    unsafe {
        // As on Unix, an empty file does not exist when SQLite asks whether it does.
        let found = locate(name).and_then(|(disk, name)| {
            let disk = lock(&disk);
            disk.find(&name).filter(|inode| flags != ffi::SQLITE_ACCESS_EXISTS || disk.size(*inode) > 0)
        });
        *result = c_int::from(found.is_some());
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn full_pathname(_: *mut ffi::sqlite3_vfs, name: *const c_char, length: c_int, target: *mut c_char) -> c_int {
    // SAFETY: `name` is a C string, and `target` has `length` bytes.
    unsafe {
        let name = CStr::from_ptr(name).to_bytes_with_nul();
        if name.len() > length as usize {
            return ffi::SQLITE_CANTOPEN;
        }
        std::ptr::copy_nonoverlapping(name.as_ptr().cast::<c_char>(), target, name.len());
    }
    ffi::SQLITE_OK
}

/// SQLite's generator asks the default file system, not this one; see [`seed_sqlite`].
unsafe extern "C" fn randomness(_: *mut ffi::sqlite3_vfs, _: c_int, _: *mut c_char) -> c_int {
    0
}

/// Nothing here needs time to pass.
unsafe extern "C" fn sleep(_: *mut ffi::sqlite3_vfs, microseconds: c_int) -> c_int {
    microseconds
}

unsafe extern "C" fn current_time(_: *mut ffi::sqlite3_vfs, days: *mut f64) -> c_int {
    // SAFETY: `days` points to a number. Julian days; the day itself does not matter.
    unsafe { *days = 2_460_000.5 };
    ffi::SQLITE_OK
}

#[cfg(test)]
mod tests {
    use rusqlite::{Connection, OpenFlags};

    use super::*;

    fn connect(mount: &Mount) -> Connection {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
        let connection = Connection::open_with_flags_and_vfs(mount.path("d.db"), flags, VFS).expect("opens");
        connection.execute_batch("PRAGMA locking_mode=EXCLUSIVE; PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL").expect("WAL");
        connection
    }

    #[test]
    fn sqlite_works_on_it() {
        let mount = Mount::new(Disk::logging());
        let connection = connect(&mount);
        connection.execute_batch("CREATE TABLE t(a); INSERT INTO t VALUES(1),(2)").expect("writes");
        let killed = Mount::new(Disk::of(mount.disk().image()));
        let sum: i64 = connect(&killed).query_row("SELECT sum(a) FROM t", [], |row| row.get(0)).expect("reads");
        assert_eq!(sum, 3);
        drop(connection);
        assert_eq!(mount.disk().image().keys().collect::<Vec<_>>(), ["d.db"], "the log goes with its last user");
    }

    #[test]
    fn a_disk_fails_as_it_is_told() {
        for (fault, expected) in [(Fault::Full, rusqlite::ErrorCode::DiskFull), (Fault::Broken, rusqlite::ErrorCode::SystemIoFailure)] {
            let mount = Mount::new(Disk::default());
            let connection = connect(&mount);
            connection.execute_batch("CREATE TABLE t(a)").expect("writes");
            let first = mount.disk().changes;
            mount.disk().failing = Some(crate::disk::Failing { fault, first, count: 1 });
            let error = connection.execute_batch("INSERT INTO t VALUES(1)").expect_err("fails");
            assert_eq!(error.sqlite_error_code(), Some(expected));
            connection.execute_batch("INSERT INTO t VALUES(2)").expect("works again");
        }
    }
}
