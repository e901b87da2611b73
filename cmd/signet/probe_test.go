package main

import (
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// probe is a program for signet exec to run: probe DIR MODE [ARGUMENT]. It writes its environment to DIR/env and its process's number to
// DIR/pid, and then, as the mode has it,
//
//	exit N   exits with this code
//	die      waits for a signal to die of
//	ignore   survives every signal that it can
//	count    writes each signal's number to DIR/signals, a line each, and exits with 7 at SIGUSR2
//	family   is one of two that ignore signals; the other one's number is in DIR/relative
func probe() {
	dir, mode := os.Args[1], os.Args[2]
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name+".new"), []byte(text), 0o600); err != nil {
			panic(err)
		}
		if err := os.Rename(filepath.Join(dir, name+".new"), filepath.Join(dir, name)); err != nil {
			panic(err)
		}
	}
	signals := make(chan os.Signal, 100)
	switch mode {
	case "ignore":
		signal.Ignore(syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGQUIT)
	case "family":
		signal.Ignore(syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGQUIT)
		relative := exec.Command("sleep", "1000")
		if err := relative.Start(); err != nil {
			panic(err)
		}
		write("relative", strconv.Itoa(relative.Process.Pid))
	case "count":
		signal.Notify(signals)
	}
	write("env", strings.Join(os.Environ(), "\n"))
	write("pid", strconv.Itoa(os.Getpid()))
	switch mode {
	case "exit":
		code, err := strconv.Atoi(os.Args[3])
		if err != nil {
			panic(err)
		}
		os.Exit(code)
	case "count":
		var seen strings.Builder
		for s := range signals {
			if s == syscall.SIGURG {
				continue // the runtime's own
			}
			n, _ := s.(syscall.Signal)
			fmt.Fprintf(&seen, "%d\n", n)
			write("signals", seen.String())
			if n == syscall.SIGUSR2 {
				os.Exit(7)
			}
		}
	}
	time.Sleep(time.Hour)
}
