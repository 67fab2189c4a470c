package oci_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/skiff-project/skiff/nodeagent/runtime"
	"github.com/skiff-project/skiff/nodeagent/runtime/runtimetest"
	"github.com/skiff-project/skiff/nodeagent/runtime/runtimetest/native"
)

// agentEnv makes the test binary an agent that starts a pod and is killed then.
const agentEnv = "SKIFF_TEST_AGENT"

type assignment struct {
	Node  nodeFiles
	Image string
}

type nodeFiles struct{ Root, Group string }

// report is what the agent says about the pod.
type report struct {
	Sandbox, Stays, Ends string
	PID                  int
	IPs                  []string
}

func TestMain(m *testing.M) {
	if todo := os.Getenv(agentEnv); todo != "" {
		beAgent(todo)
	}
	runtimetest.Isolate(m)
}

func beAgent(todo string) {
	fail := func(err error) {
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	var a assignment
	fail(json.Unmarshal([]byte(todo), &a))
	n := &native.Node{Root: a.Node.Root, Group: a.Node.Group}
	fail(n.Open())
	r, err := n.NewRuntime(slog.New(slog.DiscardHandler))
	fail(err)
	ctx := context.Background()
	s, err := r.RunSandbox(ctx, runtime.SandboxConfig{
		Pod: runtime.Pod{Namespace: "ns", Name: "p", UID: "killed"}, Hostname: "p", LogDirectory: filepath.Join(n.Root, "logs"), CgroupParent: "/kubepods/podkilled",
		PortMappings: []runtime.PortMapping{{Protocol: runtime.TCP, HostPort: 8088, ContainerPort: 80}},
	})
	fail(err)
	start := func(name, script string) string {
		id, err := r.CreateContainer(ctx, runtime.ContainerConfig{SandboxID: s.ID, Name: name, Image: a.Image, LogPath: name + ".log", Command: []string{"sh", "-c", script}})
		fail(err)
		fail(r.StartContainer(ctx, id))
		return id
	}
	out := report{Sandbox: s.ID, IPs: s.IPs}
	out.Stays = start("stays", "nc -ll -p 80 -e echo answer & while true; do date; sleep 0.02; done")
	out.Ends = start("ends", "while [ ! -e /dev/shm/go ]; do sleep 0.01; done; exit 17")
	st, err := r.ContainerStatus(ctx, out.Stays)
	fail(err)
	out.PID = st.PID
	fail(json.NewEncoder(os.Stdout).Encode(out))
	select {}
}

func TestAKilledAgentDisturbsNothing(t *testing.T) {
	n := native.New(t)
	image := n.Load(t, "busybox:1", v1.Config{})
	todo, err := json.Marshal(assignment{nodeFiles{n.Root, n.Group}, image})
	if err != nil {
		t.Fatal(err)
	}
	agent := exec.Command("/proc/self/exe")
	agent.Env = append(os.Environ(), agentEnv+"="+string(todo))
	agent.Stderr = os.Stderr
	out, err := agent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := agent.Start(); err != nil {
		t.Fatal(err)
	}
	var was report
	if err := json.NewDecoder(bufio.NewReader(out)).Decode(&was); err != nil {
		t.Fatal(err)
	}
	agent.Process.Signal(syscall.SIGKILL)
	agent.Wait()

	// One container ends while there is no agent.
	if err := os.WriteFile(filepath.Join(n.Root, "sandboxes", was.Sandbox, "shm", "go"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(20 * time.Second)
	for {
		if _, err := os.Stat(filepath.Join(n.Root, "exits", was.Ends)); err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("container did not end without an agent")
		}
		time.Sleep(5 * time.Millisecond)
	}

	if err := n.Open(); err != nil {
		t.Fatal(err)
	}
	r := n.Runtime(t)
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	s, err := r.Sandbox(ctx, was.Sandbox)
	if err != nil || s.State != runtime.SandboxReady || fmt.Sprint(s.IPs) != fmt.Sprint(was.IPs) {
		t.Fatalf("sandbox = %+v, %v; was %+v", s, err, was)
	}
	stays, err := r.ContainerStatus(ctx, was.Stays)
	if err != nil || stays.State != runtime.Running || stays.PID != was.PID {
		t.Errorf("container that stays = %+v, %v; its process was %d", stays, err, was.PID)
	}
	var ends runtime.ContainerStatus
	for ends.State != runtime.Exited && ctx.Err() == nil {
		if ends, err = r.ContainerStatus(ctx, was.Ends); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Millisecond)
	}
	if ends.ExitCode != 17 || ends.Reason != runtime.ReasonError {
		t.Errorf("container that ended = %+v", ends)
	}
	// The mapped port still leads to it, also from the node's loopback address.
	for _, address := range []string{"127.0.0.1", "10.244.7.1"} {
		answer, err := exec.CommandContext(ctx, "/bin/busybox", "nc", address, "8088").Output()
		if string(answer) != "answer\n" {
			t.Errorf("answer of %s:8088 = %q, %v", address, answer, err)
		}
	}
	before, _ := os.Stat(stays.LogPath)
	for ctx.Err() == nil {
		if after, err := os.Stat(stays.LogPath); err == nil && after.Size() > before.Size() {
			break
		}
		time.Sleep(time.Millisecond)
	}
	if err := r.RemoveSandbox(ctx, was.Sandbox); err != nil {
		t.Fatal(err)
	}
	if rest := leftovers(t, n); rest != "" {
		t.Errorf("left behind:\n%s", rest)
	}
	rules, err := exec.Command("iptables-save", "-t", "nat").Output()
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(rules), "8088") {
		t.Errorf("rules left behind:\n%s", rules)
	}
}
