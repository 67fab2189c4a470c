package oci

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/skiff-project/skiff/nodeagent/cgroups"
	"github.com/skiff-project/skiff/nodeagent/process"
	"github.com/skiff-project/skiff/nodeagent/runtime"
	"github.com/skiff-project/skiff/nodeagent/sandbox"
)

// StartContainer implements runtime.Runtime.
func (r *Runtime) StartContainer(ctx context.Context, id string) error {
	c, err := r.get(id)
	if err != nil {
		return err
	}
	c.lifecycle.Lock()
	defer c.lifecycle.Unlock()
	c.mu.Lock()
	state, removed := c.State, c.removed
	c.mu.Unlock()
	if state != runtime.Created || removed {
		return fmt.Errorf("start container %s: it is %s", c.Config.Name, strings.ToLower(string(state)))
	}
	if err := r.start(ctx, c); err != nil {
		err = fmt.Errorf("start container %s: %w", c.Config.Name, err)
		r.ended(c, startFailed(err.Error()))
		return err
	}
	r.publish(runtime.ContainerStarted, c)
	return nil
}

func (r *Runtime) start(ctx context.Context, c *container) error {
	s, err := r.sandboxes.Get(c.Config.SandboxID)
	if err != nil {
		return err
	}
	if err := r.sandboxes.Check(s.ID); err != nil {
		return err
	}
	select {
	case r.starting <- struct{}{}:
		defer func() { <-r.starting }()
	case <-ctx.Done():
		return ctx.Err()
	}
	// From here on the start is not broken off: half a start would have to be undone.
	if err := r.create(c, s); err != nil {
		return err
	}
	// Nothing of the container has run yet. Were the namespaces it joined those of this sandbox?
	err = r.sandboxes.Check(s.ID)
	if err == nil {
		c.mu.Lock()
		c.State, c.StartedAt = runtime.Running, time.Now()
		err = r.save(c)
		c.mu.Unlock()
	}
	if err == nil {
		err = r.release(ctx, c)
	}
	if err != nil {
		r.cgroups.Kill(c.Group)
		return err
	}
	r.watch(c)
	return nil
}

// create runs conmon, which runs the OCI runtime's create.
func (r *Runtime) create(c *container, s sandbox.Sandbox) error {
	syncRead, syncWrite, err := os.Pipe()
	if err != nil {
		return err
	}
	defer syncRead.Close()
	startRead, startWrite, err := os.Pipe()
	if err != nil {
		syncWrite.Close()
		return err
	}
	defer startWrite.Close()

	group := filepath.Join(s.Config.CgroupParent, cgroups.Infra)
	cmd := exec.Command(r.conmon, r.conmonArgs(c)...)
	cmd.Dir = r.dir(c.ID)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "_OCI_SYNCPIPE=3", "_OCI_STARTPIPE=4"}
	cmd.ExtraFiles = []*os.File{syncWrite, startRead}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	dir, err := r.cgroups.OpenInfra(group)
	if err == nil && dir != nil {
		defer dir.Close()
		cmd.SysProcAttr.UseCgroupFD, cmd.SysProcAttr.CgroupFD = true, int(dir.Fd())
	}
	if err == nil {
		err = cmd.Start()
	}
	syncWrite.Close()
	startRead.Close()
	if err != nil {
		return fmt.Errorf("start the container monitor: %w", err)
	}
	if dir == nil {
		err = r.cgroups.Add(group, cmd.Process.Pid)
	}
	if err == nil {
		// It waits for this, so that it and all it starts are in the pod's group.
		_, err = startWrite.Write([]byte{0})
	}
	if err != nil {
		cmd.Process.Kill()
		cmd.Wait()
		return fmt.Errorf("start the container monitor: %w", err)
	}
	if err := cmd.Wait(); err != nil { // it has gone into the background
		return fmt.Errorf("the container monitor failed: %w", err)
	}
	return r.created(c, syncRead)
}

func (r *Runtime) conmonArgs(c *container) []string {
	dir := r.dir(c.ID)
	args := []string{
		"--cid", c.ID, "--cuuid", c.ID, "--name", c.Config.Name,
		"--runtime", c.Command, "--runtime-arg", "--root=" + r.runRoot(),
		"--bundle", dir, "--persist-dir", dir,
		"--container-pidfile", filepath.Join(dir, "pid"), "--conmon-pidfile", filepath.Join(dir, "conmon.pid"),
		"--exit-dir", filepath.Join(r.config.Root, "exits"),
		"--full-attach", "--no-sync-log", "--log-level", "error",
	}
	if c.LogPath != "" {
		args = append(args, "--log-path", "k8s-file:"+c.LogPath)
	} else {
		args = append(args, "--log-path", "off:")
	}
	if c.Config.TTY {
		args = append(args, "--terminal")
	}
	if c.Config.Stdin {
		args = append(args, "--stdin")
		if !c.Config.StdinOnce {
			args = append(args, "--leave-stdin-open")
		}
	}
	return args
}

// created waits for conmon's word that the container was created.
func (r *Runtime) created(c *container, sync *os.File) error {
	sync.SetReadDeadline(time.Now().Add(4 * time.Minute))
	var word struct {
		PID     int    `json:"pid"`
		Data    int    `json:"data"`
		Message string `json:"message"`
	}
	line, err := bufio.NewReader(sync).ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &word)
	}
	if err != nil {
		r.killMonitor(c)
		return fmt.Errorf("the container monitor gave no answer: %w", err)
	}
	pid := word.PID + word.Data // whichever its version tells
	if pid <= 0 {
		return errors.New("OCI runtime create failed: " + reason(word.Message))
	}
	process, err := process.Of(pid)
	if err != nil {
		r.killMonitor(c)
		return fmt.Errorf("the container died while it was created: %w", err)
	}
	conmon, err := r.monitor(c)
	if err != nil {
		r.cgroups.Kill(c.Group)
		return fmt.Errorf("the container monitor is not to be found: %w", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.Process, c.Conmon = process, conmon
	return nil
}

func (r *Runtime) monitor(c *container) (process.ID, error) {
	data, err := os.ReadFile(r.file(c.ID, "conmon.pid"))
	if err != nil {
		return process.ID{}, err
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil {
		return process.ID{}, err
	}
	return process.Of(pid)
}

func (r *Runtime) killMonitor(c *container) {
	if conmon, err := r.monitor(c); err == nil {
		conmon.Signal(unix.SIGKILL)
		conmon.Reap()
	}
	r.cgroups.Kill(c.Group)
}

var logged = regexp.MustCompile(`msg="((?:[^"\\]|\\.)*)"`)

// reason takes the message out of the OCI runtime's log lines.
func reason(message string) string {
	message = strings.TrimSpace(message)
	matches := logged.FindAllStringSubmatch(message, -1)
	if len(matches) == 0 {
		return message
	}
	last := matches[len(matches)-1][1]
	if plain, err := strconv.Unquote(`"` + last + `"`); err == nil {
		return plain
	}
	return last
}

// release lets a created container run its command.
func (r *Runtime) release(ctx context.Context, c *container) error {
	fifo := filepath.Join(r.runRoot(), c.ID, "exec.fifo")
	if !known(c.Command) {
		return r.invoke(ctx, c.Command, "start", c.ID)
	}
	var err error
	if filepath.Base(c.Command) == "crun" {
		err = writeByte(fifo, c.Process)
	} else {
		err = readByte(fifo, c.Process)
	}
	switch {
	case errors.Is(err, os.ErrNotExist):
		return r.invoke(ctx, c.Command, "start", c.ID)
	case err != nil:
		return fmt.Errorf("the container died before its command ran: %w", err)
	}
	return os.Remove(fifo)
}

// releasePatience bounds the wait for a process that was created and is about to open its fifo.
const releasePatience = 30 * time.Second

// writeByte lets a process go on that was made by crun: it waits for one byte in the fifo. Opened without blocking, which fails for as
// long as nobody reads, so that a process that was killed meanwhile cannot keep us.
func writeByte(fifo string, reader process.ID) error {
	for end := time.Now().Add(releasePatience); ; time.Sleep(200 * time.Microsecond) {
		f, err := os.OpenFile(fifo, os.O_WRONLY|unix.O_NONBLOCK, 0)
		switch {
		case err == nil:
			_, err = f.Write([]byte{0})
			return errors.Join(err, f.Close())
		case !errors.Is(err, unix.ENXIO):
			return err
		case !reader.Alive():
			return os.ErrProcessDone
		case time.Now().After(end):
			return errors.Join(err, os.ErrDeadlineExceeded)
		}
	}
}

// readByte lets a process go on that was made by runc: it writes one byte into the fifo and then executes the command. A read says end
// of file until the writer has opened its end.
func readByte(fifo string, writer process.ID) error {
	f, err := os.OpenFile(fifo, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	buf := make([]byte, 1)
	for end := time.Now().Add(releasePatience); ; {
		f.SetReadDeadline(end)
		n, err := f.Read(buf)
		if n == 1 {
			return nil
		}
		if !writer.Alive() {
			return os.ErrProcessDone
		}
		if time.Now().After(end) {
			return errors.Join(err, os.ErrDeadlineExceeded)
		}
		time.Sleep(200 * time.Microsecond)
	}
}
