package suite

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// Config of a run.
type Config struct {
	Programs   string // folder with ginkgo, e2e.test and kubectl; absolute, as all paths here
	Kubeconfig string
	Procs      int
	// Limit is how long the tests may take. Those that run when it is reached are interrupted, and no others begin.
	Limit time.Duration
	Out   string // folder for the log and the reports, which must exist
	Say   io.Writer
	Live  bool // Say is a terminal
}

// patience is how long interrupted tests get for cleaning up, before the run is killed.
const patience = 90 * time.Second

// Run runs the tests and returns a result for each. When ctx ends all processes are killed at once, and the results
// are what was known by then, with ctx's error. Failed tests are no error.
func Run(ctx context.Context, c Config, tests []Test) (Results, error) {
	if len(tests) == 0 {
		return nil, errors.New("no test is chosen")
	}
	progress := NewProgress(tests, c.Procs, c.Say, c.Live)

	// Ginkgo asks the tests to end at its own limit; what has not ended a while later is hung.
	inner, cancel := context.WithTimeout(ctx, c.Limit+patience)
	defer cancel()
	done, shown := make(chan struct{}), make(chan struct{})
	go func() { progress.Show(done); close(shown) }()
	report := filepath.Join(c.Out, "report.json")
	err := c.ginkgo(inner, progress, report, focus(tests))
	close(done)
	<-shown
	if inner.Err() != nil {
		return progress.Known(tests), errors.Join(ctx.Err(), errors.New("the run was ended before its tests had"))
	}
	results, readErr := read(report, tests)
	if readErr != nil {
		// Without a report Ginkgo's own end says more.
		return progress.Known(tests), errors.Join(err, fmt.Errorf("%w; see %s", readErr, filepath.Join(c.Out, "e2e.log")))
	}
	return results, nil
}

// ginkgo returns an error also when tests failed; the report says which.
func (c Config) ginkgo(ctx context.Context, progress io.Writer, report, focus string) error {
	if err := os.Remove(report); err != nil && !os.IsNotExist(err) {
		return err
	}
	log, err := os.Create(filepath.Join(c.Out, "e2e.log"))
	if err != nil {
		return err
	}
	defer log.Close()
	program := func(name string) string { return filepath.Join(c.Programs, name) }
	cmd := exec.CommandContext(ctx, program("ginkgo"),
		fmt.Sprintf("--procs=%d", c.Procs), fmt.Sprintf("--timeout=%s", c.Limit), "-v", "--no-color", "--silence-skips",
		"--output-dir="+c.Out, "--json-report="+filepath.Base(report), "--focus="+focus, program("e2e.test"),
		"--", "--kubeconfig="+c.Kubeconfig, "--provider=skeleton", "--kubectl-path="+program("kubectl"),
		"--node-os-distro=debian")
	cmd.Dir = c.Out
	cmd.Stdout = io.MultiWriter(log, progress)
	cmd.Stderr = cmd.Stdout
	cmd.WaitDelay = 10 * time.Second // for a process that keeps the output open
	// A group of its own: a terminal's interrupt reaches the runner alone, which then kills all of the group. Ginkgo
	// would wait minutes for the tests that run.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	return cmd.Run()
}
