package main

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/skiff-project/skiff/e2e/conformance/images"
)

// cluster is the cluster that a run is about, driven by the skiff program as a user would.
type cluster struct {
	name string
	out  string // absolute; gets the kubeconfig, skiff's output and the components' logs
	log  *os.File
	stop []func() // ends the registries
}

// machines are two, since tests look for a second node.
var machines = []string{"node-1", "node-2"}

// Where machines see bin/ and where their components write.
const (
	binInMachine  = "/opt/skiff/bin"
	logsInMachine = "/var/log/skiff"
)

func newCluster(name, out string) (*cluster, error) {
	log, err := os.Create(filepath.Join(out, "cluster.log"))
	if err != nil {
		return nil, err
	}
	return &cluster{name: name, out: out, log: log}, nil
}

func (c *cluster) kubeconfig() string { return filepath.Join(c.out, "kubeconfig") }

// skiff prepares a call of the skiff program.
func (c *cluster) skiff(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, filepath.Join(skiffDir, "skiff"), args...)
	cmd.Env = append(os.Environ(), "SKIFF_EGRESS=false", "KUBECONFIG="+c.kubeconfig())
	cmd.Stdout, cmd.Stderr = c.log, c.log
	// Not interrupted by the terminal: it is the runner who ends what it started, in order.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = time.Minute
	return cmd
}

func (c *cluster) run(ctx context.Context, args ...string) error {
	if err := c.skiff(ctx, args...).Run(); err != nil {
		return fmt.Errorf("skiff %s: %w; see %s", args[0], err, c.log.Name())
	}
	return nil
}

// up starts the cluster with the suite's images on its nodes. One that an earlier run has left behind is ended first.
func (c *cluster) up(ctx context.Context) error {
	if err := c.down(); err != nil {
		return err
	}
	err := c.run(ctx, "up", "--name", c.name, "--nodes", fmt.Sprint(len(machines)), "--egress=false", "--kubeconfig", c.kubeconfig(),
		"--component-flag", "nodeagent=--registry-mirror=*="+registryAddress)
	if err != nil {
		return err
	}
	if err := c.run(ctx, "image", "load", "--name", c.name, filepath.Join(imagesDir(), images.Archive)); err != nil {
		return err
	}
	for _, m := range machines {
		if err := c.serve(m); err != nil {
			return err
		}
	}
	return nil
}

// serve starts a registry in a machine. Two tests insist on pulling, and images that exist nowhere must be refused at
// once instead of after a time-out.
func (c *cluster) serve(machine string) error {
	ctx, cancel := context.WithCancel(context.Background())
	cmd := c.skiff(ctx, "machine", "exec", "--name", c.name, machine, "--",
		binInMachine+"/conformance/run", "registry", "--layout", binInMachine+"/conformance/images/"+images.Layout, "--listen", registryAddress)
	if err := cmd.Start(); err != nil {
		cancel()
		return fmt.Errorf("registry in %s: %w", machine, err)
	}
	ended := make(chan struct{})
	go func() { _ = cmd.Wait(); close(ended) }() // its end is asked for, and told of in the log otherwise
	c.stop = append(c.stop, func() { cancel(); <-ended })
	return nil
}

// logs copies the components' logs of every machine into the folder of the run.
func (c *cluster) logs() error {
	var errs []error
	for _, m := range machines {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		errs = append(errs, c.copyLogs(ctx, m))
		cancel()
	}
	return errors.Join(errs...)
}

func (c *cluster) copyLogs(ctx context.Context, machine string) error {
	cmd := c.skiff(ctx, "machine", "exec", "--name", c.name, machine, "--", "tar", "-C", logsInMachine, "-cf", "-", ".")
	cmd.Stdout = nil
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	err = untar(out, filepath.Join(c.out, "logs", machine))
	_, rest := io.Copy(io.Discard, out)
	if err := errors.Join(err, rest, cmd.Wait()); err != nil {
		return fmt.Errorf("logs of %s: %w", machine, err)
	}
	return nil
}

// untar writes the files of an archive into one folder.
func untar(r io.Reader, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for tr := tar.NewReader(r); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if h.Typeflag != tar.TypeReg {
			continue
		}
		body, err := io.ReadAll(tr)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(h.Name)), body, 0o644); err != nil {
			return err
		}
	}
}

// down ends the cluster, whatever state it is in, and leaves nothing of it.
func (c *cluster) down() error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	err := c.run(ctx, "down", "--name", c.name)
	for _, stop := range c.stop {
		stop()
	}
	c.stop = nil
	return err
}

// version names the commit that this checkout is of.
func version(ctx context.Context) string {
	out, err := exec.CommandContext(ctx, "git", "describe", "--tags", "--always", "--dirty").Output()
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(out))
}
