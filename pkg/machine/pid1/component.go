package pid1

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/skiff-project/skiff/pkg/machine/control"
)

// The pauses between an end and the next start: short at first, because a component killed by chance should be back
// before anybody notices; growing, because one that cannot run should not eat the machine. A run that lasted settled
// starts over.
const (
	firstPause = 100 * time.Millisecond
	maxPause   = 10 * time.Second
	settled    = 10 * time.Second
)

// nextPause is the back-off after a run that lasted ran and was itself preceded by last.
func nextPause(last, ran time.Duration) time.Duration {
	if last == 0 || ran >= settled {
		return firstPause
	}
	return min(2*last, maxPause)
}

// component keeps one program running until it is told to stop.
type component struct {
	reaper *reaper
	held   map[string]int
	logs   string

	mu    sync.Mutex
	spec  control.Component
	state control.State
	stop  context.CancelFunc // ends the keeping; nil while stopped
	done  chan struct{}      // closed when the keeping has ended
}

// start begins to keep the component running, if that is not so already.
func (c *component) start(spec *control.Component) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stop != nil {
		return fmt.Errorf("component %s runs already", c.spec.Name)
	}
	if spec != nil {
		c.spec = *spec
	}
	for _, h := range c.spec.Held {
		if _, ok := c.held[h]; !ok {
			return fmt.Errorf("component %s: this machine holds no descriptor %q", c.spec.Name, h)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	c.stop, c.done = cancel, make(chan struct{})
	c.state.Name, c.state.Wanted = c.spec.Name, true
	started := make(chan error, 1)
	go c.keep(ctx, c.spec, started)
	// The first start's failure is the asker's to know: a missing program is no matter for back-off.
	if err := <-started; err != nil {
		c.stop, c.state.Wanted = nil, false
		return err
	}
	return nil
}

// keep runs the program again and again. It reports on started whether the first start worked.
func (c *component) keep(ctx context.Context, spec control.Component, started chan<- error) {
	defer close(c.done)
	var pause time.Duration
	for first := true; ; first = false {
		begin := time.Now()
		pid, ended, err := c.launch(spec)
		if first {
			started <- err
			if err != nil {
				return
			}
		}
		if err == nil {
			c.note(func(s *control.State) { s.PID, s.Since = pid, begin })
			status := <-ended
			c.note(func(s *control.State) { s.PID, s.Since, s.LastExit = 0, time.Now(), describe(status) })
		} else {
			c.note(func(s *control.State) { s.LastExit = err.Error() })
		}
		if ctx.Err() != nil {
			return
		}
		pause = nextPause(pause, time.Since(begin))
		slog.Warn("component ended", "component", spec.Name, "how", c.snapshot().LastExit, "again", pause)
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
		c.note(func(s *control.State) { s.Restarts++ })
	}
}

// launch starts the program once, its output going straight to the log file: no copying, and no pipe to break when init
// is busy.
func (c *component) launch(spec control.Component) (int, <-chan syscall.WaitStatus, error) {
	log, err := openLog(filepath.Join(c.logs, spec.Name+".log"))
	if err != nil {
		return 0, nil, err
	}
	defer log.Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		return 0, nil, err
	}
	defer null.Close()
	files := []uintptr{null.Fd(), log.Fd(), log.Fd()}
	for _, h := range spec.Held {
		files = append(files, uintptr(c.held[h]))
	}
	return c.reaper.start(spec.Argv, append(os.Environ(), spec.Env...), "/", files, &syscall.SysProcAttr{Setsid: true})
}

// halt ends the program: by SIGTERM, and after grace by SIGKILL. It is done when the program is.
func (c *component) halt(grace time.Duration) {
	c.mu.Lock()
	stop, done := c.stop, c.done
	c.state.Wanted = false
	c.mu.Unlock()
	if stop == nil {
		return
	}
	stop()
	deadline := time.After(grace)
	sig := unix.SIGTERM
	for finished := false; !finished; {
		// Again and again, for the program may have been between two runs when the first signal went out.
		if err := c.signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
			slog.Error("component cannot be signalled", "component", c.spec.Name, "err", err)
		}
		select {
		case <-done:
			finished = true
		case <-deadline:
			sig, deadline = unix.SIGKILL, nil
		case <-time.After(time.Second):
		}
	}
	c.mu.Lock()
	c.stop = nil
	c.mu.Unlock()
}

func (c *component) signal(sig unix.Signal) error {
	pid := c.snapshot().PID
	if pid == 0 {
		return os.ErrProcessDone
	}
	return c.reaper.signal(pid, sig)
}

func (c *component) note(change func(*control.State)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	change(&c.state)
}

func (c *component) snapshot() control.State {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state
}
