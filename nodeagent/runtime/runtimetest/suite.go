package runtimetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/skiff-project/skiff/nodeagent/runtime"
)

// Env is a runtime under test.
type Env struct {
	Runtime runtime.Runtime
	// Image is the id of Busybox in its image store.
	Image string
	// Logs is a folder for the pods' logs.
	Logs string
	// Restart forgets the runtime's client or agent and returns one that found everything again; nil when that cannot be.
	Restart func(t *testing.T) runtime.Runtime
	// Old runtimes are from before Kubernetes 1.31 and know neither stop signals nor strict supplemental groups.
	Old bool
	// MakesHostPaths says that a mount of nothing makes an empty folder on the node.
	MakesHostPaths bool
}

// Run is the contract.
func Run(t *testing.T, env Env) {
	for _, test := range []struct {
		name string
		run  func(*testing.T, *pod)
	}{
		{"a container runs, logs and ends with its code", testRunsAndEnds},
		{"a sandbox has an address, a host name and shared memory", testSandbox},
		{"containers of a pod share their network", testSharedNetwork},
		{"a command that is not there fails to start", testMissingCommand},
		{"stop sends the signal, waits and kills", testStop},
		{"exec returns output and exit code", testExecSync},
		{"exec has streams and a terminal", testExecStreams},
		{"attach sees output and gives input", testAttach},
		{"users and groups are as asked", testUsers},
		{"mounts are as asked", testMounts},
		{"capabilities and read-only root are as asked", testSecurity},
		{"limits are set and changed in place", testResources},
		{"memory beyond the limit is OOMKilled", testOOM},
		{"a shared PID namespace reaps and shows all processes", testSharePID},
		{"ports are forwarded", testPortForward},
		{"a log is reopened", testReopenLog},
		{"what runs is found after a restart", func(t *testing.T, p *pod) { testRestart(t, p, env) }},
		{"stopping and removing is idempotent", testIdempotent},
		{"a sandbox that died is told", testSandboxDies},
	} {
		t.Run(test.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			p := &pod{t: t, ctx: ctx, env: &env, r: env.Runtime, events: env.Runtime.Events(ctx)}
			p.config = runtime.SandboxConfig{
				Pod:          runtime.Pod{Namespace: "ns", Name: "pod", UID: fmt.Sprintf("uid-%d", time.Now().UnixNano())},
				Hostname:     "web-0",
				LogDirectory: filepath.Join(env.Logs, fmt.Sprint(time.Now().UnixNano())),
				Labels:       map[string]string{"a": "b"},
			}
			p.config.CgroupParent = "/kubepods/burstable/pod" + p.config.Pod.UID
			defer p.remove()
			test.run(t, p)
		})
	}
}

// pod drives one pod of a test.
type pod struct {
	t       *testing.T
	ctx     context.Context
	env     *Env
	r       runtime.Runtime
	events  <-chan runtime.Event
	config  runtime.SandboxConfig
	sandbox runtime.Sandbox
	started int
}

func (p *pod) remove() {
	p.t.Helper()
	if p.sandbox.ID == "" {
		return
	}
	// The test's own time may be over.
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := p.r.RemoveSandbox(ctx, p.sandbox.ID); err != nil {
		p.t.Errorf("remove sandbox: %v", err)
	}
	if _, err := p.r.Sandbox(ctx, p.sandbox.ID); !errors.Is(err, runtime.ErrNotFound) {
		p.t.Errorf("removed sandbox: %v, want not found", err)
	}
	all, _ := p.r.Containers(ctx)
	for _, c := range all {
		if c.SandboxID == p.sandbox.ID {
			p.t.Errorf("container %s outlives its sandbox", c.Name)
		}
	}
}

func (p *pod) run() {
	p.t.Helper()
	var err error
	if p.sandbox, err = p.r.RunSandbox(p.ctx, p.config); err != nil {
		p.t.Fatalf("run sandbox: %v", err)
	}
}

func shell(script string) runtime.ContainerConfig {
	return runtime.ContainerConfig{Command: []string{"/bin/sh", "-c", script}}
}

func (p *pod) create(config runtime.ContainerConfig) string {
	p.t.Helper()
	if p.sandbox.ID == "" {
		p.run()
	}
	config.SandboxID, config.Image, config.ImageRef = p.sandbox.ID, p.env.Image, "busybox"
	if config.Name == "" {
		p.started++
		config.Name = fmt.Sprintf("c%d", p.started)
	}
	if config.LogPath == "" {
		config.LogPath = config.Name + "/0.log"
	}
	id, err := p.r.CreateContainer(p.ctx, config)
	if err != nil {
		p.t.Fatalf("create container: %v", err)
	}
	return id
}

func (p *pod) start(config runtime.ContainerConfig) string {
	p.t.Helper()
	id := p.create(config)
	if err := p.r.StartContainer(p.ctx, id); err != nil {
		p.t.Fatalf("start container: %v", err)
	}
	return id
}

func (p *pod) status(id string) runtime.ContainerStatus {
	p.t.Helper()
	s, err := p.r.ContainerStatus(p.ctx, id)
	if err != nil {
		p.t.Fatalf("status: %v", err)
	}
	return s
}

// ended waits for the event of a container's end, as a pod worker does.
func (p *pod) ended(id string) runtime.ContainerStatus {
	p.t.Helper()
	for {
		if s := p.status(id); s.State == runtime.Exited {
			return s
		}
		select {
		case <-p.events:
		case <-p.ctx.Done():
			p.t.Fatalf("container did not end: %+v", p.status(id))
		}
	}
}

// output runs a script to its end and returns what it logged.
func (p *pod) output(config runtime.ContainerConfig) string {
	p.t.Helper()
	return p.log(p.ended(p.start(config)))
}

// log is the content of a container's log without the CRI prefixes.
func (p *pod) log(s runtime.ContainerStatus) string {
	p.t.Helper()
	data, err := os.ReadFile(s.LogPath)
	if err != nil {
		p.t.Fatalf("log: %v", err)
	}
	var out strings.Builder
	for line := range strings.Lines(string(data)) {
		parts := strings.SplitN(strings.TrimSuffix(line, "\n"), " ", 4)
		if len(parts) != 4 {
			p.t.Fatalf("log line %q is not in the CRI format", line)
		}
		if _, err := time.Parse(time.RFC3339Nano, parts[0]); err != nil {
			p.t.Fatalf("log line %q: %v", line, err)
		}
		out.WriteString(parts[3])
		if parts[2] == "F" {
			out.WriteString("\n")
		}
	}
	return out.String()
}

func (p *pod) exec(id string, command ...string) runtime.ExecResult {
	p.t.Helper()
	res, err := p.r.ExecSync(p.ctx, id, command, 20*time.Second)
	if err != nil {
		p.t.Fatalf("exec %q: %v", command, err)
	}
	return res
}

func (p *pod) equal(what string, got, want any) {
	p.t.Helper()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		p.t.Errorf("%s = %q, want %q", what, fmt.Sprint(got), fmt.Sprint(want))
	}
}

// until waits for a condition.
func (p *pod) until(what string, ok func() bool) {
	p.t.Helper()
	for !ok() {
		select {
		case <-p.ctx.Done():
			p.t.Fatalf("%s: not in time", what)
		case <-time.After(2 * time.Millisecond):
		}
	}
}

func testRunsAndEnds(t *testing.T, p *pod) {
	before := time.Now().Add(-time.Second)
	config := shell("echo out $A $B; echo err >&2; exit 3")
	config.Env = []runtime.EnvVar{{Name: "A", Value: "1"}, {Name: "B", Value: "two words"}}
	id := p.create(config)
	p.equal("state", p.status(id).State, runtime.Created)
	if err := p.r.StartContainer(p.ctx, id); err != nil {
		t.Fatal(err)
	}
	s := p.ended(id)
	p.equal("code", s.ExitCode, 3)
	p.equal("reason", s.Reason, runtime.ReasonError)
	if s.StartedAt.Before(before) || s.FinishedAt.Before(s.StartedAt) {
		t.Errorf("started %v, finished %v", s.StartedAt, s.FinishedAt)
	}
	log := p.log(s)
	if !strings.Contains(log, "out 1 two words\n") || !strings.Contains(log, "err\n") {
		t.Errorf("log = %q", log)
	}
	s = p.ended(p.start(shell("true")))
	p.equal("code", s.ExitCode, 0)
	p.equal("reason", s.Reason, runtime.ReasonCompleted)
	if err := p.r.StartContainer(p.ctx, id); err == nil {
		t.Error("a container that has ended was started again")
	}
}

func testSandbox(t *testing.T, p *pod) {
	p.config.Sysctls = map[string]string{"net.ipv4.ip_unprivileged_port_start": "77"}
	p.run()
	if len(p.sandbox.IPs) == 0 || p.sandbox.State != runtime.SandboxReady {
		t.Fatalf("sandbox = %+v", p.sandbox)
	}
	got := p.output(shell("hostname; cat /proc/sys/net/ipv4/ip_unprivileged_port_start; ip -4 -o addr show eth0 | awk '{print $4}' | cut -d/ -f1; mount | grep -c ' /dev/shm '"))
	p.equal("seen inside", got, "web-0\n77\n"+p.sandbox.IPs[0]+"\n1\n")
	p.output(shell("echo hello > /dev/shm/file"))
	p.equal("shared memory", p.output(shell("cat /dev/shm/file")), "hello\n")
}

func testSharedNetwork(t *testing.T, p *pod) {
	p.start(shell("nc -ll -p 8080 -e echo hi"))
	got := p.output(shell("until nc 127.0.0.1 8080; do sleep 0.05; done"))
	p.equal("answer", got, "hi\n")
}

func testMissingCommand(t *testing.T, p *pod) {
	id := p.create(runtime.ContainerConfig{Command: []string{"/no/such/command"}})
	err := p.r.StartContainer(p.ctx, id)
	if err == nil || !strings.Contains(strings.ToLower(err.Error()), "no such file or directory") {
		t.Errorf("error = %v", err)
	}
	s := p.status(id)
	p.equal("state", s.State, runtime.Exited)
	p.equal("code", s.ExitCode, 128)
	p.equal("reason", s.Reason, runtime.ReasonStartError)
}

func testStop(t *testing.T, p *pod) {
	soft := p.start(shell("trap 'exit 7' TERM; echo ready; while true; do sleep 0.05; done"))
	p.until("trap is set", func() bool { data, _ := os.ReadFile(p.status(soft).LogPath); return len(data) > 0 })
	if err := p.r.StopContainer(p.ctx, soft, 20*time.Second); err != nil {
		t.Fatal(err)
	}
	p.equal("code", p.status(soft).ExitCode, 7)

	deaf := p.start(shell("trap '' TERM; echo ready; while true; do sleep 0.05; done"))
	p.until("trap is set", func() bool { data, _ := os.ReadFile(p.status(deaf).LogPath); return len(data) > 0 })
	begin := time.Now()
	waiting := make(chan error, 1)
	go func() { waiting <- p.r.StopContainer(p.ctx, deaf, 50*time.Second) }()
	if err := p.r.StopContainer(p.ctx, deaf, time.Second); err != nil {
		t.Fatal(err)
	}
	if err := <-waiting; err != nil {
		t.Error(err)
	}
	if took := time.Since(begin); took < 900*time.Millisecond || took > 10*time.Second {
		t.Errorf("stopped after %s, grace was 1s", took)
	}
	p.equal("code", p.status(deaf).ExitCode, 137)

	if p.env.Old {
		return
	}
	usr := shell("trap 'exit 9' USR1; echo ready; while true; do sleep 0.05; done")
	usr.StopSignal = "SIGUSR1"
	id := p.start(usr)
	p.until("trap is set", func() bool { data, _ := os.ReadFile(p.status(id).LogPath); return len(data) > 0 })
	if err := p.r.StopContainer(p.ctx, id, 20*time.Second); err != nil {
		t.Fatal(err)
	}
	p.equal("code", p.status(id).ExitCode, 9)
}

func testExecSync(t *testing.T, p *pod) {
	id := p.start(shell("sleep 1000"))
	res := p.exec(id, "sh", "-c", "echo out; echo err >&2; exit 5")
	p.equal("result", fmt.Sprintf("%s%s%d", res.Stdout, res.Stderr, res.ExitCode), "out\nerr\n5")
	if _, err := p.r.ExecSync(p.ctx, id, []string{"sleep", "100"}, 200*time.Millisecond); !errors.Is(err, runtime.ErrExecTimeout) {
		t.Errorf("slow command: %v, want a time-out", err)
	}
	if _, err := p.r.ExecSync(p.ctx, id, []string{"/no/such"}, 0); err == nil {
		t.Error("a command that is not there was executed")
	}
	p.until("the timed-out command is gone", func() bool { return !strings.Contains(string(p.exec(id, "ps").Stdout), "sleep 100\n") })
	// A time-out holds for what the command left in the background with its output, too.
	begin := time.Now()
	if _, err := p.r.ExecSync(p.ctx, id, []string{"sh", "-c", "sleep 50 & echo x"}, 300*time.Millisecond); !errors.Is(err, runtime.ErrExecTimeout) {
		t.Errorf("background process: %v, want a time-out", err)
	}
	if took := time.Since(begin); took > 10*time.Second {
		t.Errorf("exec waited %s for a background process", took)
	}
	if err := p.r.StopContainer(p.ctx, id, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := p.r.ExecSync(p.ctx, id, []string{"true"}, 0); err == nil {
		t.Error("exec in a container that has ended")
	}
}

func testExecStreams(t *testing.T, p *pod) {
	id := p.start(shell("sleep 1000"))
	var stdout, stderr bytes.Buffer
	code, err := p.r.Exec(p.ctx, id, runtime.ExecOptions{
		Command: []string{"sh", "-c", "cat; echo done >&2; exit 4"},
		Stdin:   strings.NewReader(strings.Repeat("0123456789", 100_000)), Stdout: &stdout, Stderr: &stderr,
	})
	if err != nil || code != 4 {
		t.Fatalf("code %d, error %v", code, err)
	}
	p.equal("bytes through", stdout.Len(), 1_000_000)
	p.equal("stderr", stderr.String(), "done\n")

	sizes := make(chan runtime.TermSize, 2)
	sizes <- runtime.TermSize{Width: 100, Height: 40}
	var screen bytes.Buffer
	input, typed := io.Pipe()
	go func() {
		io.WriteString(typed, "stty size; tty; exit 6\n")
	}()
	code, err = p.r.Exec(p.ctx, id, runtime.ExecOptions{Command: []string{"sh"}, TTY: true, Stdin: input, Stdout: &screen, Resize: sizes})
	typed.Close()
	if err != nil || code != 6 {
		t.Fatalf("code %d, error %v, screen %q", code, err, screen.String())
	}
	if !strings.Contains(screen.String(), "40 100") || !strings.Contains(screen.String(), "/dev/pts/") {
		t.Errorf("screen = %q", screen.String())
	}
}

func testAttach(t *testing.T, p *pod) {
	config := shell("while read line; do echo got $line; echo bad >&2; done; echo end")
	config.Stdin, config.StdinOnce = true, true
	id := p.start(config)
	var stdout, stderr bytes.Buffer
	if err := p.r.Attach(p.ctx, id, runtime.AttachOptions{Stdin: strings.NewReader("one\ntwo\n"), Stdout: &stdout, Stderr: &stderr}); err != nil {
		t.Fatal(err)
	}
	p.equal("stdout", stdout.String(), "got one\ngot two\nend\n")
	p.equal("stderr", stderr.String(), "bad\nbad\n")
	p.equal("code", p.ended(id).ExitCode, 0)

	config = shell("read x; stty size; read y")
	config.Stdin, config.TTY = true, true
	id = p.start(config)
	sizes := make(chan runtime.TermSize, 1)
	sizes <- runtime.TermSize{Width: 90, Height: 30}
	input, typed := io.Pipe()
	screen := &syncBuffer{}
	done := make(chan error, 1)
	go func() {
		done <- p.r.Attach(p.ctx, id, runtime.AttachOptions{Stdin: input, Stdout: screen, Resize: sizes})
	}()
	p.until("the size is set", func() bool { return string(p.exec(id, "sh", "-c", "stty size < /proc/1/fd/0").Stdout) == "30 90\n" })
	io.WriteString(typed, "\n")
	p.until("the terminal shows its size", func() bool { return strings.Contains(screen.String(), "30 90") })
	io.WriteString(typed, "\n")
	if err := <-done; err != nil {
		t.Error(err)
	}
	typed.Close()
}

func testUsers(t *testing.T, p *pod) {
	id := func(v int64) *int64 { return &v }
	for _, c := range []struct {
		name string
		sc   runtime.SecurityContext
		want string
	}{
		{"the image's", runtime.SecurityContext{}, "0 0 0"},
		{"a number of the image's passwd", runtime.SecurityContext{RunAsUser: id(1000)}, "1000 1000 1000 2000"},
		{"a number of nobody", runtime.SecurityContext{RunAsUser: id(4444)}, "4444 0 0"},
		{"a group", runtime.SecurityContext{RunAsUser: id(1000), RunAsGroup: id(3000), SupplementalGroups: []int64{7, 8}}, "1000 3000 7 8 2000 3000"},
		{"only the groups asked for", runtime.SecurityContext{RunAsUser: id(1000), SupplementalGroups: []int64{7}, SupplementalGroupsStrict: true}, "1000 1000 7 1000"},
	} {
		if c.sc.SupplementalGroupsStrict && p.env.Old {
			continue
		}
		config := shell("echo $(id -u) $(id -g) $(awk '/^Groups/ {$1=\"\"; print}' /proc/self/status)")
		config.Security = c.sc
		p.equal(c.name, p.output(config), c.want+"\n")
	}
}

func testMounts(t *testing.T, p *pod) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "file"), []byte("content\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	config := shell("cat /data/in/file /etc/one; echo x > /data/in/new; echo y > /ro/new || echo refused")
	config.Mounts = []runtime.Mount{
		{HostPath: dir, ContainerPath: "/data/in"},
		{HostPath: dir, ContainerPath: "/ro", ReadOnly: true},
		{HostPath: filepath.Join(dir, "file"), ContainerPath: "/etc/one"},
	}
	got := p.output(config)
	if !strings.HasPrefix(got, "content\ncontent\n") || !strings.Contains(got, "refused\n") {
		t.Errorf("output = %q", got)
	}
	data, err := os.ReadFile(filepath.Join(dir, "new"))
	p.equal("written", string(data), "x\n")
	if err != nil {
		t.Error(err)
	}
	if p.env.MakesHostPaths {
		return
	}
	config = shell("true")
	config.Mounts = []runtime.Mount{{HostPath: filepath.Join(dir, "absent"), ContainerPath: "/x"}}
	config.SandboxID, config.Image, config.Name = p.sandbox.ID, p.env.Image, "broken"
	if _, err := p.r.CreateContainer(p.ctx, config); err == nil {
		t.Error("a mount of nothing was accepted")
	}
}

func testSecurity(t *testing.T, p *pod) {
	p.config.Privileged = true // one of the containers will be
	caps := func(sc runtime.SecurityContext) string {
		config := shell("awk '/CapEff|NoNewPrivs/ {print $2}' /proc/self/status")
		config.Security = sc
		return p.output(config)
	}
	p.equal("default", caps(runtime.SecurityContext{}), "00000000a80425fb\n0\n")
	p.equal("none", caps(runtime.SecurityContext{DropCapabilities: []string{"ALL"}, NoNewPrivileges: true}), "0000000000000000\n1\n")
	p.equal("one", caps(runtime.SecurityContext{DropCapabilities: []string{"ALL"}, AddCapabilities: []string{"NET_ADMIN"}}), "0000000000001000\n0\n")

	config := shell("echo x > /file; echo y > /tmp/file")
	config.Security.ReadOnlyRootfs = true
	got := p.output(config)
	p.equal("read-only root", strings.Count(got, "Read-only file system"), 2)

	config = shell("unshare -n true || echo refused; grep Seccomp: /proc/self/status | awk '{print $2}'; id -u")
	config.Security.Seccomp.Kind = runtime.SeccompRuntimeDefault
	got = p.output(config)
	if !strings.HasSuffix(got, "refused\n2\n0\n") {
		t.Errorf("under the default filter: %q", got)
	}
	config = shell("ls /dev | wc -l; mount -t tmpfs tmpfs /data && echo mounted; echo 1 > /proc/sys/net/ipv4/ip_forward && echo written")
	config.Security.Privileged = true
	got = p.output(config)
	if !strings.HasSuffix(got, "mounted\nwritten\n") {
		t.Errorf("privileged: %q", got)
	}
}

const limitsScript = `cd /sys/fs/cgroup
if [ -e cpu.max ]; then cat memory.max cpu.max; else cat memory/memory.limit_in_bytes cpu/cpu.cfs_quota_us cpu/cpu.cfs_period_us | tr '\n' ' '; fi`

func testResources(t *testing.T, p *pod) {
	config := shell("sleep 1000")
	config.Resources = runtime.Resources{CPUShares: 512, CPUQuota: 50_000, MemoryLimit: 64 << 20, OOMScoreAdj: 900, PidsLimit: 50}
	id := p.start(config)
	read := func() string {
		return strings.Join(strings.Fields(string(p.exec(id, "sh", "-c", limitsScript).Stdout)), " ")
	}
	p.equal("limits", read(), "67108864 50000 100000")
	p.equal("score", string(p.exec(id, "cat", "/proc/1/oom_score_adj").Stdout), "900\n")
	for _, memory := range []int64{128 << 20, 32 << 20} { // up and down: the order of writing differs
		res := runtime.Resources{CPUShares: 256, CPUQuota: 20_000, MemoryLimit: memory}
		if err := p.r.UpdateResources(p.ctx, id, res); err != nil {
			t.Fatal(err)
		}
		p.equal("limits", read(), fmt.Sprintf("%d 20000 100000", memory))
		p.equal("told", p.status(id).Resource.MemoryLimit, memory)
	}
	stats, err := p.r.ContainerStats(p.ctx, id)
	if err != nil || stats.MemoryUsage == 0 || stats.CPUNanos == 0 {
		t.Errorf("stats = %+v, %v", stats, err)
	}
	if ps, err := p.r.PodStats(p.ctx, p.sandbox.ID); err != nil || ps.MemoryUsage == 0 || ps.Network == nil {
		t.Errorf("pod stats = %+v, %v", ps, err)
	}
}

func testOOM(t *testing.T, p *pod) {
	config := shell("tail /dev/zero") // keeps the last line, which never ends
	config.Resources.MemoryLimit = 16 << 20
	s := p.ended(p.start(config))
	p.equal("reason", s.Reason, runtime.ReasonOOMKilled)
	p.equal("code", s.ExitCode, 137)
}

func testSharePID(t *testing.T, p *pod) {
	p.config.SharePID = true
	p.start(shell("sleep 777"))
	id := p.start(shell("sleep 888"))
	ps := string(p.exec(id, "ps").Stdout)
	for _, want := range []string{"sleep 777", "sleep 888"} {
		if !strings.Contains(ps, want) {
			t.Errorf("%q is not seen in %s", want, ps)
		}
	}
	p.exec(id, "sh", "-c", "(sleep 0.01 &) ; true")
	p.until("orphans are reaped", func() bool {
		return !strings.Contains(string(p.exec(id, "sh", "-c", "cat /proc/[0-9]*/stat").Stdout), ") Z ")
	})
}

func testPortForward(t *testing.T, p *pod) {
	p.start(shell("nc -ll -p 9090 -e sh -c 'read x; echo you said $x'"))
	p.until("an answer comes", func() bool {
		ours, theirs := pipePair()
		done := make(chan error, 1)
		go func() { done <- p.r.PortForward(p.ctx, p.sandbox.ID, 9090, theirs) }()
		go func() { io.WriteString(ours, "hello\n") }()
		data, _ := io.ReadAll(ours)
		ours.Close()
		<-done
		return string(data) == "you said hello\n"
	})
	ours, theirs := pipePair()
	defer ours.Close()
	if err := p.r.PortForward(p.ctx, p.sandbox.ID, 1, theirs); err == nil {
		t.Error("a port that nobody listens on was forwarded")
	}
}

func testReopenLog(t *testing.T, p *pod) {
	id := p.start(shell("while true; do date; sleep 0.01; done"))
	log := p.status(id).LogPath
	size := func(path string) int64 {
		info, err := os.Stat(path)
		if err != nil {
			return -1
		}
		return info.Size()
	}
	p.until("something is logged", func() bool { return size(log) > 0 })
	if err := os.Rename(log, log+".1"); err != nil {
		t.Fatal(err)
	}
	if err := p.r.ReopenLog(p.ctx, id); err != nil {
		t.Fatal(err)
	}
	p.until("the new file grows", func() bool { return size(log) > 0 })
	p.log(p.status(id))
}

func testRestart(t *testing.T, p *pod, env Env) {
	if env.Restart == nil {
		t.Skip("this runtime lives outside of the test")
	}
	runs := p.start(shell("sleep 1000"))
	ends := p.start(shell("read x; exit 12"))
	p.ended(ends)
	soon := p.start(shell("while [ ! -e /dev/shm/go ]; do sleep 0.01; done; exit 13"))
	pid := p.status(runs).PID
	p.r = env.Restart(t)
	p.events = p.r.Events(p.ctx)
	p.env.Runtime = p.r
	p.equal("process", p.status(runs).PID, pid)
	p.equal("code", p.status(ends).ExitCode, p.ended(ends).ExitCode)
	s, err := p.r.Sandbox(p.ctx, p.sandbox.ID)
	if err != nil || s.State != runtime.SandboxReady || fmt.Sprint(s.IPs) != fmt.Sprint(p.sandbox.IPs) {
		t.Errorf("sandbox = %+v, %v", s, err)
	}
	p.exec(runs, "touch", "/dev/shm/go")
	p.equal("code of what ended under the second", p.ended(soon).ExitCode, 13)
}

func testIdempotent(t *testing.T, p *pod) {
	id := p.start(shell("sleep 1000"))
	for range 2 {
		if err := p.r.StopContainer(p.ctx, id, 0); err != nil {
			t.Error(err)
		}
	}
	for range 2 {
		if err := p.r.RemoveContainer(p.ctx, id); err != nil {
			t.Error(err)
		}
	}
	if _, err := p.r.ContainerStatus(p.ctx, id); !errors.Is(err, runtime.ErrNotFound) {
		t.Errorf("removed container: %v", err)
	}
	p.start(shell("sleep 1000"))
	for range 2 {
		if err := p.r.StopSandbox(p.ctx, p.sandbox.ID); err != nil {
			t.Error(err)
		}
	}
	s, err := p.r.Sandbox(p.ctx, p.sandbox.ID)
	if err != nil || s.State != runtime.SandboxNotReady {
		t.Errorf("stopped sandbox = %+v, %v", s, err)
	}
	for range 2 {
		if err := p.r.RemoveSandbox(p.ctx, p.sandbox.ID); err != nil {
			t.Error(err)
		}
	}
}

func testSandboxDies(t *testing.T, p *pod) {
	p.run()
	if p.sandbox.PID == 0 {
		t.Skip("this runtime does not tell its infra process")
	}
	proc, err := os.FindProcess(p.sandbox.PID)
	if err != nil {
		t.Fatal(err)
	}
	proc.Kill()
	for event := range p.events {
		if event.Kind == runtime.SandboxStopped && event.SandboxID == p.sandbox.ID {
			break
		}
	}
	s, err := p.r.Sandbox(p.ctx, p.sandbox.ID)
	if err != nil || s.State != runtime.SandboxNotReady {
		t.Errorf("sandbox = %+v, %v", s, err)
	}
	if _, err := p.r.CreateContainer(p.ctx, runtime.ContainerConfig{SandboxID: s.ID, Image: p.env.Image, Name: "late"}); err == nil {
		t.Error("a container was created in a sandbox that died")
	}
}
