package images

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
)

// buildBusybox builds busybox from Debian's source package, with Debian's choice of applets but without its patches:
// one of them has ash drop environment variables with names such as data-1, which tests look for. It returns the
// program's path.
func buildBusybox(ctx context.Context, a *apt, dir string) (string, error) {
	program := filepath.Join(dir, "busybox")
	if _, err := os.Stat(program); err == nil {
		return program, nil
	}
	source := filepath.Join(dir, "source")
	if err := errors.Join(os.RemoveAll(source), os.MkdirAll(source, 0o755)); err != nil {
		return "", err
	}
	if err := a.get(ctx, dir, "source", "-qq", "--download-only", "busybox"); err != nil {
		return "", err
	}
	original, err := one(filepath.Join(dir, "busybox_*.orig.tar.*"))
	if err != nil {
		return "", err
	}
	packaging, err := one(filepath.Join(dir, "busybox_*.debian.tar.*"))
	if err != nil {
		return "", err
	}
	if err := run(ctx, source, "tar", "-xf", original, "--strip-components=1"); err != nil {
		return "", err
	}
	if err := configure(ctx, packaging, source); err != nil {
		return "", err
	}
	if err := run(ctx, source, "make", fmt.Sprintf("-j%d", runtime.NumCPU())); err != nil {
		return "", err
	}
	// Renamed into place, so that a program that is there is whole.
	return program, os.Rename(filepath.Join(source, "busybox"), program)
}

func one(pattern string) (string, error) {
	found, err := filepath.Glob(pattern)
	if err == nil && len(found) != 1 {
		err = fmt.Errorf("%s: %d files, want one", pattern, len(found))
	}
	if err != nil {
		return "", err
	}
	return filepath.Abs(found[0])
}

// unbuildable are applets that the headers of kernels of today no longer have the definitions for.
var unbuildable = regexp.MustCompile(`(?m)^(CONFIG_TC)=y$`)

// configure writes the configuration of Debian's static busybox to the source.
func configure(ctx context.Context, packaging, source string) error {
	cmd := exec.CommandContext(ctx, "tar", "-xOf", packaging, "debian/config/pkg/static")
	cmd.Stderr = os.Stderr
	config, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("Debian's configuration of busybox: %w", err)
	}
	config = unbuildable.ReplaceAll(config, []byte("# $1 is not set"))
	if err := os.WriteFile(filepath.Join(source, ".config"), config, 0o644); err != nil {
		return err
	}
	return run(ctx, source, "make", "oldconfig")
}

// run runs a command and tells what it said only if it fails. Questions are answered by their defaults.
func run(ctx context.Context, dir, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "KCONFIG_NOTIMESTAMP=1", "LC_ALL=C")
	cmd.Stdin = strings.NewReader(strings.Repeat("\n", 10000))
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		lines := strings.Split(strings.TrimSpace(out.String()), "\n")
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.Join(lines[max(0, len(lines)-15):], "\n"))
	}
	return nil
}

// appletsOf asks busybox what it can stand in for.
func appletsOf(ctx context.Context, busybox string) ([]string, error) {
	out, err := exec.CommandContext(ctx, busybox, "--list").Output()
	if err != nil {
		return nil, fmt.Errorf("%s --list: %w", busybox, err)
	}
	var applets []string
	for _, a := range strings.Fields(string(out)) {
		if a != "busybox" {
			applets = append(applets, a)
		}
	}
	return applets, nil
}

// busyboxRoot has every applet in /bin, where tests call them by path.
func busyboxRoot(busybox string, applets []string) layer {
	l := layer{}.users().dir("tmp", 0o1777).dir("root", 0o700).dir("home", 0o755).dir("var/spool/mail", 0o755).dir("usr/sbin", 0o755)
	l.program("bin/busybox", busybox, 0o755)
	for _, a := range applets {
		l.put("bin/"+a, file{Header: tar.Header{Typeflag: tar.TypeLink, Mode: 0o755, Linkname: "bin/busybox"}})
	}
	return l
}
