package boltstore_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// gate decides what becomes of every fdatasync and fsync of this process: the
// kernel asks it (seccomp user notification) and waits for the answer.
type gate struct {
	mu    sync.Mutex
	nth   int  // the nth fdatasync from now fails; 0 for none
	all   bool // every sync fails
	after bool // once the nth has failed, all do
	count int
	trace []string // what was synced: the call, and the file by its name then
}

// traced returns what was synced since it was asked last.
func (g *gate) traced() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	t := g.trace
	g.trace = nil
	return t
}

func (g *gate) failNth(n int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.nth, g.count = n, 0
}

func (g *gate) failAll(on bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.all = on
}

func (g *gate) failAllAfter(on bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.after = on
}

func (g *gate) failed() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.count
}

func (g *gate) fails(nr int32, fd uint64) bool {
	name, err := os.Readlink(fmt.Sprint("/proc/self/fd/", fd))
	if err != nil {
		name = err.Error()
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	call := "fsync "
	if nr == unix.SYS_FDATASYNC {
		call = "fdatasync "
	}
	g.trace = append(g.trace, call+strings.TrimSuffix(filepath.Base(name), " (deleted)"))
	if nr == unix.SYS_FDATASYNC && g.nth > 0 {
		if g.nth--; g.nth == 0 {
			g.count++
			g.all = g.after
			return true
		}
	}
	return g.all
}

// What the kernel sends and wants back; see seccomp(2).
type (
	seccompNotif struct {
		id         uint64
		pid, flags uint32
		nr         int32
		arch       uint32
		ip         uint64
		args       [6]uint64
	}
	seccompResp struct {
		id    uint64
		val   int64
		err   int32
		flags uint32
	}
)

// gateSyncs puts a gate before every sync of this process, for good.
func gateSyncs() (*gate, error) {
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0}, // the number of the call
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.SYS_FDATASYNC, Jt: 2},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.SYS_FSYNC, Jt: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_USER_NOTIF},
	}
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return nil, fmt.Errorf("PR_SET_NO_NEW_PRIVS: %w", err)
	}
	const flags = unix.SECCOMP_FILTER_FLAG_TSYNC | unix.SECCOMP_FILTER_FLAG_TSYNC_ESRCH | unix.SECCOMP_FILTER_FLAG_NEW_LISTENER
	fd, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, flags, uintptr(unsafe.Pointer(&prog)))
	runtime.KeepAlive(filter)
	if errno != 0 {
		return nil, fmt.Errorf("seccomp: %w", errno)
	}
	g := &gate{}
	go g.serve(fd)
	return g, nil
}

func (g *gate) serve(fd uintptr) {
	for {
		var req seccompNotif
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, fd, unix.SECCOMP_IOCTL_NOTIF_RECV, uintptr(unsafe.Pointer(&req))); errno != 0 {
			if errors.Is(errno, unix.EINTR) || errors.Is(errno, unix.ENOENT) {
				continue
			}
			panic(fmt.Sprint("seccomp: receiving: ", errno))
		}
		resp := seccompResp{id: req.id, flags: unix.SECCOMP_USER_NOTIF_FLAG_CONTINUE}
		if g.fails(req.nr, req.args[0]) {
			resp = seccompResp{id: req.id, err: -int32(syscall.EIO)}
		}
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, fd, unix.SECCOMP_IOCTL_NOTIF_SEND, uintptr(unsafe.Pointer(&resp))); errno != 0 && !errors.Is(errno, unix.ENOENT) {
			panic(fmt.Sprint("seccomp: answering: ", errno))
		}
	}
}
