package runtimetest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const isolated = "SKIFF_TEST_ISOLATED"

// Isolate runs the tests of a package in mount, network, PID, UTS and IPC namespaces of their own: no packet leaves, and
// no process or mount stays, however the tests end. It is called by TestMain and does not return.
func Isolate(m *testing.M) {
	switch os.Getenv(isolated) {
	case "":
		os.Exit(again())
	case "init":
		if err := furnish(); err != nil {
			fmt.Fprintln(os.Stderr, "isolate tests:", err)
			os.Exit(1)
		}
		os.Exit(reap())
	}
	os.Exit(m.Run())
}

// reap is the first process of the PID namespace: it runs the tests and collects orphans, as every machine's init does.
func reap() int {
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), isolated+"=tests")
	if err := cmd.Start(); err != nil {
		fmt.Fprintln(os.Stderr, "isolate tests:", err)
		return 1
	}
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, 0, nil)
		switch {
		case err == syscall.EINTR:
		case err != nil:
			return 1
		case pid == cmd.Process.Pid && status.Signaled():
			return 1
		case pid == cmd.Process.Pid:
			return status.ExitStatus()
		}
	}
}

// again starts the test binary in new namespaces.
func again() int {
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), isolated+"=init")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWNET | unix.CLONE_NEWPID | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC,
		Pdeathsig:  syscall.SIGKILL,
	}
	signal.Ignore(os.Interrupt)
	err := cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() > 0 {
		return exit.ExitCode()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "isolate tests (they need root):", err)
		return 1
	}
	return 0
}

func furnish() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil {
		return err
	}
	if err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return err
	}
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	return netlink.LinkSetUp(lo)
}
