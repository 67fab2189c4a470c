// Package programs builds what is upstream's from the requirements of this module: the official suite, its runner and
// its kubectl, and the programs inside the suite's images.
package programs

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// Kubernetes is the version of the suite, which its programs report as theirs.
const Kubernetes = "v1.37.2"

// program is one binary and the package that it is built from.
type program struct {
	name, from string
	test       bool // a test binary
}

var all = []program{
	{name: "ginkgo", from: "github.com/onsi/ginkgo/v2/ginkgo"},
	{name: "kubectl", from: "k8s.io/kubernetes/cmd/kubectl"},
	{name: "e2e.test", from: "k8s.io/kubernetes/test/e2e", test: true},
	{name: "agnhost", from: "k8s.io/kubernetes/test/images/agnhost"},
	{name: "nonewprivs", from: "k8s.io/kubernetes/test/images/nonewprivs"},
	{name: "etcd", from: "go.etcd.io/etcd/server/v3"},
	{name: "sample-apiserver", from: "k8s.io/sample-apiserver"},
}

// Build makes the programs in folder out, from the module in folder module. What it says goes to log. Programs of
// the same module files and compiler that are there already are left as they are. Building all of them with nothing
// in Go's cache takes minutes and some 2 GB of memory.
func Build(ctx context.Context, module, out string, log io.Writer) error {
	want, err := inputs(ctx, module)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(out, 0o755); err != nil {
		return err
	}
	for _, p := range all {
		stamp := filepath.Join(out, "."+p.name+".built-from")
		if have, err := os.ReadFile(stamp); err == nil && string(have) == want {
			if _, err := os.Stat(filepath.Join(out, p.name)); err == nil {
				continue
			}
		}
		began := time.Now()
		if err := p.build(ctx, module, out); err != nil {
			return fmt.Errorf("build %s: %w", p.name, err)
		}
		if err := os.WriteFile(stamp, []byte(want), 0o644); err != nil {
			return err
		}
		fmt.Fprintf(log, "built %s in %s\n", p.name, time.Since(began).Round(time.Second))
	}
	return nil
}

// inputs names all that the programs depend on.
func inputs(ctx context.Context, module string) (string, error) {
	sum := sha256.New()
	for _, name := range []string{"go.mod", "go.sum"} {
		body, err := os.ReadFile(filepath.Join(module, name))
		if err != nil {
			return "", err
		}
		sum.Write(body)
	}
	version, err := exec.CommandContext(ctx, "go", "version").Output()
	if err != nil {
		return "", fmt.Errorf("go version: %w", err)
	}
	sum.Write(version)
	fmt.Fprint(sum, linkerFlags())
	return fmt.Sprintf("%x\n", sum.Sum(nil)), nil
}

// linkerFlags tell the programs their version: without it kubectl calls itself v0.0.0 and tests that compare fail.
func linkerFlags() string {
	major, minor, _ := strings.Cut(strings.TrimPrefix(Kubernetes, "v"), ".")
	minor, _, _ = strings.Cut(minor, ".")
	const base = "k8s.io/component-base/version."
	return strings.Join([]string{
		"-s -w",
		"-X " + base + "gitVersion=" + Kubernetes, "-X " + base + "gitMajor=" + major, "-X " + base + "gitMinor=" + minor,
		"-X " + base + "gitTreeState=clean", "-X k8s.io/client-go/pkg/version.gitVersion=" + Kubernetes,
	}, " ")
}

func (p program) build(ctx context.Context, module, out string) error {
	out, err := filepath.Abs(out)
	if err != nil {
		return err
	}
	args := []string{"build"}
	if p.test {
		args = []string{"test", "-c", "-vet=off"}
	}
	args = append(args, "-buildvcs=false", "-ldflags", linkerFlags(), "-o", filepath.Join(out, p.name), p.from)
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = module
	// Static, so that an image needs no C library for them.
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+runtime.GOARCH, "GOFLAGS=-mod=readonly")
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	return cmd.Run()
}

// Source is the folder of k8s.io/kubernetes, for the few files of its images that are not programs.
func Source(ctx context.Context, module string) (string, error) {
	cmd := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", "k8s.io/kubernetes")
	cmd.Dir, cmd.Stderr = module, os.Stderr
	dir, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("where k8s.io/kubernetes is: %w", err)
	}
	return strings.TrimSpace(string(dir)), nil
}
