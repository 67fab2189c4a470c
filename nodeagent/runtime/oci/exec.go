package oci

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/skiff-project/skiff/nodeagent/runtime"
)

// maxSyncOutput of ExecSync per stream.
const maxSyncOutput = 16 << 20

// drain is how long the output of a command that was killed is read on: what survived may still hold it.
const drain = 2 * time.Second

func (r *Runtime) readSpec(id string) (*specs.Spec, error) {
	data, err := os.ReadFile(r.file(id, "config.json"))
	if err != nil {
		return nil, err
	}
	spec := &specs.Spec{}
	return spec, json.Unmarshal(data, spec)
}

// ExecSync implements runtime.Runtime.
func (r *Runtime) ExecSync(ctx context.Context, id string, command []string, timeout time.Duration) (runtime.ExecResult, error) {
	var stdout, stderr limitedBuffer
	if timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, timeout, runtime.ErrExecTimeout)
		defer cancel()
	}
	code, err := r.Exec(ctx, id, runtime.ExecOptions{Command: command, Stdout: &stdout, Stderr: &stderr})
	result := runtime.ExecResult{Stdout: stdout.bytes(), Stderr: stderr.bytes(), ExitCode: code}
	if errors.Is(context.Cause(ctx), runtime.ErrExecTimeout) && err != nil {
		return result, fmt.Errorf("command %q %w after %s", strings.Join(command, " "), runtime.ErrExecTimeout, timeout)
	}
	return result, err
}

// limitedBuffer keeps the beginning and swallows the rest.
type limitedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *limitedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.buf.Write(p[:min(len(p), maxSyncOutput-b.buf.Len())])
	return len(p), nil
}

func (b *limitedBuffer) bytes() []byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	return bytes.Clone(b.buf.Bytes())
}

// Exec implements runtime.Runtime. The OCI runtime runs in the foreground for as long as the command does and hands on
// its exit code; ending ctx kills the command.
func (r *Runtime) Exec(ctx context.Context, id string, options runtime.ExecOptions) (int, error) {
	c, err := r.get(id)
	if err != nil {
		return 0, err
	}
	if _, err := c.running(); err != nil {
		return 0, err
	}
	if len(options.Command) == 0 {
		return 0, errors.New("exec: no command")
	}
	e, err := r.newExec(c, options)
	if err != nil {
		return 0, fmt.Errorf("exec in container %s: %w", c.Config.Name, err)
	}
	defer e.close()
	if options.TTY {
		return e.runTerminal(ctx, options)
	}
	return e.runPipes(ctx, options)
}

// execution is one run of exec. The process document and the log go through files in memory.
type execution struct {
	cmd          *exec.Cmd
	process, log *os.File
}

func (r *Runtime) newExec(c *container, options runtime.ExecOptions) (*execution, error) {
	spec, err := r.readSpec(c.ID)
	if err != nil {
		return nil, err
	}
	p := spec.Process
	p.Args, p.Terminal = options.Command, options.TTY
	if options.TTY && !hasEnv(p.Env, "TERM") {
		p.Env = append(p.Env, "TERM=xterm")
	}
	document, err := json.Marshal(p)
	if err != nil {
		return nil, err
	}
	e := &execution{}
	for _, f := range []struct {
		file **os.File
		name string
	}{{&e.process, "process"}, {&e.log, "log"}} {
		fd, err := unix.MemfdCreate(f.name, unix.MFD_CLOEXEC)
		if err != nil {
			e.close()
			return nil, err
		}
		*f.file = os.NewFile(uintptr(fd), f.name)
	}
	if _, err := e.process.Write(document); err != nil {
		e.close()
		return nil, err
	}
	// The files of this process are named through /proc, since the OCI runtime's own start closes what it inherits.
	self := "/proc/" + strconv.Itoa(os.Getpid()) + "/fd/"
	name := func(f *os.File) string { return self + strconv.Itoa(int(f.Fd())) }
	e.cmd = exec.Command(c.Command, "--root", r.runRoot(), "--log", name(e.log), "--log-format", "json",
		"exec", "--process", name(e.process), c.ID)
	e.cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
	return e, nil
}

func hasEnv(env []string, name string) bool {
	for _, e := range env {
		if strings.HasPrefix(e, name+"=") {
			return true
		}
	}
	return false
}

func (e *execution) close() {
	for _, f := range []*os.File{e.process, e.log} {
		if f != nil {
			f.Close()
		}
	}
}

// wait returns the exit code. What the OCI runtime logged as an error means that the command never ran.
func (e *execution) wait(ctx context.Context) (int, error) {
	stop := context.AfterFunc(ctx, e.kill)
	defer stop()
	err := e.cmd.Wait()
	if ctx.Err() != nil {
		return 0, context.Cause(ctx)
	}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return 0, err
	}
	if message := e.failure(); message != "" {
		return e.cmd.ProcessState.ExitCode(), errors.New("OCI runtime exec failed: " + message)
	}
	status, ok := e.cmd.ProcessState.Sys().(syscall.WaitStatus)
	if ok && status.Signaled() {
		return 128 + int(status.Signal()), nil
	}
	return e.cmd.ProcessState.ExitCode(), nil
}

// kill ends the command, which is the child of the OCI runtime, and then the OCI runtime.
func (e *execution) kill() {
	pid := e.cmd.Process.Pid
	data, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	for _, child := range childrenOf(pid, data) {
		unix.Kill(child, unix.SIGKILL)
	}
	e.cmd.Process.Kill()
}

// childrenOf lists the children of all threads: the one that forked is not always the first.
func childrenOf(pid int, first []byte) []int {
	var list []int
	tasks, _ := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	add := func(data []byte) {
		for _, f := range strings.Fields(string(data)) {
			if n, err := strconv.Atoi(f); err == nil {
				list = append(list, n)
			}
		}
	}
	if len(tasks) == 0 {
		add(first)
	}
	for _, t := range tasks {
		data, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/children", pid, t.Name()))
		add(data)
	}
	return list
}

// failure reads the last error in the OCI runtime's log.
func (e *execution) failure() string {
	data, err := io.ReadAll(io.NewSectionReader(e.log, 0, 1<<20))
	if err != nil {
		return ""
	}
	message := ""
	for line := range strings.Lines(string(data)) {
		var entry struct{ Level, Msg string }
		if json.Unmarshal([]byte(line), &entry) == nil && (entry.Level == "error" || entry.Level == "fatal") {
			message = entry.Msg
		}
	}
	return message
}

// runPipes connects the streams by pipes.
func (e *execution) runPipes(ctx context.Context, options runtime.ExecOptions) (int, error) {
	var ours, theirs []*os.File
	closeAll := func(list []*os.File) {
		for _, f := range list {
			f.Close()
		}
	}
	defer func() { closeAll(ours) }()
	var outputs sync.WaitGroup
	var readers []*os.File
	output := func(w io.Writer) (*os.File, error) {
		if w == nil {
			return nil, nil // /dev/null
		}
		read, write, err := os.Pipe()
		if err != nil {
			return nil, err
		}
		ours, theirs, readers = append(ours, read), append(theirs, write), append(readers, read)
		outputs.Go(func() { io.Copy(w, read) })
		return write, nil
	}
	var err error
	var stdin *os.File
	if options.Stdin != nil {
		read, write, pipeErr := os.Pipe()
		if pipeErr != nil {
			return 0, pipeErr
		}
		ours, theirs = append(ours, write), append(theirs, read)
		e.cmd.Stdin, stdin = read, write
	}
	for _, s := range []struct {
		w  io.Writer
		to *io.Writer
	}{{options.Stdout, &e.cmd.Stdout}, {options.Stderr, &e.cmd.Stderr}} {
		f, outErr := output(s.w)
		if f != nil {
			*s.to = f
		}
		err = errors.Join(err, outErr)
	}
	if err == nil {
		err = e.cmd.Start()
	}
	closeAll(theirs)
	if err != nil {
		closeAll(ours)
		outputs.Wait()
		return 0, err
	}
	if stdin != nil {
		go func() {
			io.Copy(stdin, options.Stdin)
			stdin.Close()
		}()
	}
	code, err := e.wait(ctx)
	// The streams end with the command, unless it left something behind that holds them; that is waited for as well, as all runtimes
	// do, and as a slow client is: what was written is never cut off.
	read := make(chan struct{})
	go func() {
		defer close(read)
		outputs.Wait()
	}()
	select {
	case <-read:
	case <-ctx.Done():
		for _, f := range readers {
			f.SetReadDeadline(time.Now().Add(drain))
		}
		<-read
		if err == nil {
			err = context.Cause(ctx)
		}
	}
	return code, err
}
