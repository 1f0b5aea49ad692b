package main

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"unsafe"
)

// disk is a small ext4 of a node's own, on a loop device over a file. It can be filled, and its
// power can be cut: what was not synced is gone then, as with a real one.
type disk struct{ image, at string }

const (
	diskMiB         = 384
	ext4Shutdown    = 0x8004587d // EXT4_IOC_SHUTDOWN: _IOR('X', 125, __u32)
	shutdownNoFlush = 2          // EXT4_GOING_FLAGS_NOLOGFLUSH
	fileFreeze      = 0xc0045877 // FIFREEZE: _IOWR('X', 119, int)
	fileThaw        = 0xc0045878 // FITHAW: _IOWR('X', 120, int)
)

func diskNew(image, at string) (*disk, error) {
	d := &disk{image, at}
	if err := os.MkdirAll(at, 0o755); err != nil {
		return nil, err
	}
	return d, d.format()
}

// format makes it empty, as a new one.
func (d *disk) format() error {
	err := shell(fmt.Sprintf("rm -f %s && truncate -s %dM %s && mkfs.ext4 -q -F -E lazy_itable_init=0 %s", d.image,
		diskMiB, d.image, d.image))
	if err != nil {
		return err
	}
	return d.mount()
}

// mount takes a loop device that frees itself when the file system goes, however that comes about.
func (d *disk) mount() error {
	return shell(fmt.Sprintf("mount -o loop,noatime %s %s", d.image, d.at))
}

func (d *disk) unmount() error { return syscall.Unmount(d.at, 0) }

func (d *disk) remove() error {
	if err := d.unmount(); err != nil {
		return err
	}
	return os.Remove(d.image)
}

// cut is the end of power: from now on nothing reaches the disk, and what it had not been told to sync is lost.
func (d *disk) cut() error {
	return d.ioctl(ext4Shutdown, shutdownNoFlush)
}

// freeze holds back all that is written from now on, until thaw.
func (d *disk) freeze() error { return d.ioctl(fileFreeze, 0) }
func (d *disk) thaw() error   { return d.ioctl(fileThaw, 0) }

func (d *disk) ioctl(request uintptr, argument uint32) error {
	f, err := os.Open(d.at)
	if err != nil {
		return err
	}
	defer f.Close()
	_, _, errno := syscall.Syscall(syscall.SYS_IOCTL, f.Fd(), request, uintptr(unsafe.Pointer(&argument)))
	if errno != 0 {
		return fmt.Errorf("ioctl %#x of %s: %w", request, d.at, errno)
	}
	return nil
}

func (d *disk) filler() string { return filepath.Join(d.at, "filler") }

// fill leaves not a block free.
func (d *disk) fill() error {
	f, err := os.Create(d.filler())
	if err != nil {
		return err
	}
	defer f.Close()
	for piece := int64(1 << 20); piece >= 4096; piece /= 2 {
		for err == nil {
			info, statErr := f.Stat()
			if statErr != nil {
				return statErr
			}
			err = syscall.Fallocate(int(f.Fd()), 0, info.Size(), piece)
		}
		if err != syscall.ENOSPC {
			return fmt.Errorf("filling %s: %w", d.at, err)
		}
		err = nil
	}
	return nil
}

func (d *disk) empty() error { return os.Remove(d.filler()) }
