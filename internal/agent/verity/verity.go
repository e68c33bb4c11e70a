// Package verity has the kernel protect a file's bytes (fs-verity).
//
// The kernel keeps a tree of hashes beside the file, checks every page against it when it is read
// from the disk, and lets nobody write to the file any more. The root of the tree is read in
// constant time, so that 200 GB are known to be the same bytes without reading them. A file system
// must have the feature: ext4 and f2fs when it was made with it (tune2fs -O verity adds it to
// ext4), btrfs always.
package verity

import (
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// blockSize of the tree's leaves, in bytes. It is the one that all file systems with fs-verity
// take on all machines with pages of 4 KiB (Documentation/filesystems/fsverity.rst).
const blockSize = 4096

// Measure returns the digest by which the kernel protects an open file, as "sha256:HEX". It is
// empty for a file that isn't protected.
func Measure(f *os.File) (string, error) {
	var arg struct { // struct fsverity_digest with room for the largest digest
		algorithm, size uint16
		digest          [64]byte
	}
	arg.size = uint16(len(arg.digest))
	err := ioctl(f, unix.FS_IOC_MEASURE_VERITY, unsafe.Pointer(&arg))
	if absent(err) {
		return "", nil
	}
	if err != nil {
		return "", &os.PathError{Op: "measure fs-verity of", Path: f.Name(), Err: err}
	}
	name := fmt.Sprintf("%d", arg.algorithm)
	switch arg.algorithm {
	case unix.FS_VERITY_HASH_ALG_SHA256:
		name = "sha256"
	case unix.FS_VERITY_HASH_ALG_SHA512:
		name = "sha512"
	}
	return name + ":" + hex.EncodeToString(arg.digest[:min(int(arg.size), len(arg.digest))]), nil
}

// Enable has a file protected from now on, and returns its digest. f must be open for reading
// alone, and nobody may have the file open for writing: else the error is unix.ETXTBSY. The kernel
// reads the whole file for it. Where the file system or the kernel doesn't have the feature,
// nothing happens and the digest is empty. There is no way back but to make a new file.
func Enable(f *os.File) (string, error) {
	arg := unix.FsverityEnableArg{Version: 1, Hash_algorithm: unix.FS_VERITY_HASH_ALG_SHA256, Block_size: blockSize}
	err := ioctl(f, unix.FS_IOC_ENABLE_VERITY, unsafe.Pointer(&arg))
	switch {
	case err == nil, errors.Is(err, unix.EEXIST): // EEXIST: it is protected already
		return Measure(f)
	case absent(err), errors.Is(err, unix.EINVAL), errors.Is(err, unix.EPERM), errors.Is(err, unix.EROFS):
		// EINVAL: blocks of this size aren't possible on this file system. EPERM: an append-only
		// file, or a container's filter.
		return "", nil
	default:
		return "", &os.PathError{Op: "enable fs-verity of", Path: f.Name(), Err: err}
	}
}

// absent are the errors of what hasn't the feature, in the kernel's several ways, and of a file
// that doesn't use it.
func absent(err error) bool {
	return errors.Is(err, unix.ENODATA) || errors.Is(err, unix.ENOTTY) || errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS)
}

func ioctl(f *os.File, request uintptr, arg unsafe.Pointer) error {
	for {
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), request, uintptr(arg))
		runtime.KeepAlive(f)
		if errno == 0 {
			return nil
		}
		if errno != unix.EINTR {
			return errno
		}
	}
}
