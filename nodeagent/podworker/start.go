package podworker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/skiff-project/skiff/nodeagent/env"
	"github.com/skiff-project/skiff/nodeagent/podfiles"
	"github.com/skiff-project/skiff/nodeagent/runtime"
	"github.com/skiff-project/skiff/nodeagent/status"
)

// starting is the container that is being started now.
type starting struct {
	name   string
	cancel context.CancelFunc
}

// attempt is all that starting a container needs, fixed when the start begins.
type attempt struct {
	Start
	pod     *corev1.Pod
	sandbox runtime.Sandbox
	number  uint32
	target  string // container id
	podIPs  []string
	delay   time.Duration
	// events go on after the container runs: it is shown before its hook has ended.
	running func(runtime.ContainerStatus)
}

// failure is why a container did not start.
type failure struct {
	status.Reason
	retry time.Duration
}

func (f *failure) Error() string { return f.Reason.Reason + ": " + f.Message }

func fail(reason string, err error) *failure {
	return &failure{Reason: status.Reason{Reason: reason, Message: err.Error()}, retry: firstDelay}
}

func (w *Worker) start(s Start, now time.Time) {
	ctx, cancel := context.WithCancel(w.ctx)
	w.starting = &starting{name: s.Container.Name, cancel: cancel}
	a := attempt{Start: s, pod: w.pod, sandbox: *w.sandbox(), number: w.nextNumber(s), podIPs: w.podIPs()}
	if b := w.crash[s.Container.Name]; b != nil {
		a.delay = b.delay
	}
	if s.Target != "" {
		if list := w.attempts[s.Target]; len(list) > 0 && list[0].State == runtime.Running {
			a.target = list[0].ID
		}
	}
	a.running = func(st runtime.ContainerStatus) {
		select {
		case w.results <- func() { w.added(st) }:
		case <-w.ctx.Done():
		}
	}
	w.do(func() func() {
		err := w.startContainer(ctx, &a)
		cancel()
		return func() { w.startEnded(&a, err) }
	})
}

// nextNumber counts a container's attempts, on from what the API shows where the runtime has forgotten.
func (w *Worker) nextNumber(s Start) uint32 {
	if list := w.attempts[s.Container.Name]; len(list) > 0 {
		return list[0].Attempt + 1
	}
	shown, ok := w.cfg.Status.Get(w.pod.UID)
	if !ok {
		shown = w.pod.Status
	}
	old := statusOf(&shown, s.Container.Name)
	if old == nil {
		return 0
	}
	if old.ContainerID != "" && old.State.Waiting == nil {
		return uint32(old.RestartCount) + 1
	}
	return uint32(old.RestartCount)
}

// added makes a new container known to the owner as soon as it runs.
func (w *Worker) added(s runtime.ContainerStatus) {
	list := w.attempts[s.Name]
	for i := range list {
		if list[i].ID == s.ID {
			list[i] = s
			w.seen(s, false)
			return
		}
	}
	w.attempts[s.Name] = append([]runtime.ContainerStatus{s}, list...)
	delete(w.waiting, s.Name)
	delete(w.retryAt, s.Name)
	delete(w.restart, s.Name)
	w.quietUntil = time.Time{}
	w.seen(s, false)
	w.lookAgain = true
}

func (w *Worker) startEnded(a *attempt, err *failure) {
	w.starting = nil
	name := a.Container.Name
	w.lookAgain = true
	if err == nil {
		delete(w.waiting, name)
		w.prune(name)
		return
	}
	if w.ctx.Err() != nil || w.stage != living {
		return
	}
	w.quietUntil = time.Time{}
	w.waiting[name] = err.Reason
	w.retryAt[name] = time.Now().Add(err.retry)
}

// startContainer makes and starts one container. It runs beside the owner and touches nothing of it but pulls, which only a
// start uses, and there is only one at a time.
func (w *Worker) startContainer(ctx context.Context, a *attempt) *failure {
	image, bad := w.ensureImage(ctx, a.pod, a.Container, a.Container.Image, a.Container.ImagePullPolicy)
	if bad != nil {
		return bad
	}
	if bad := w.ensureImageVolumes(ctx, a); bad != nil {
		return bad
	}
	config, messageFile, err := w.containerConfig(ctx, a, image)
	if err != nil {
		if ctx.Err() == nil {
			w.containerEvent(a.Container, corev1.EventTypeWarning, "Failed", "Error: "+err.Error())
		}
		return fail("CreateContainerConfigError", err)
	}
	config.Annotations = containerAnnotations(a.pod, a.Container, a.number, messageFile, a.delay)
	id, err := w.cfg.Runtime.CreateContainer(ctx, config)
	if err != nil {
		if ctx.Err() == nil {
			w.containerEvent(a.Container, corev1.EventTypeWarning, "Failed", "Error: "+err.Error())
		}
		return fail("CreateContainerError", err)
	}
	w.containerEvent(a.Container, corev1.EventTypeNormal, "Created", "Container created")
	if err := w.cfg.Runtime.StartContainer(ctx, id); err != nil {
		w.publish(a, id)
		w.containerEvent(a.Container, corev1.EventTypeWarning, "Failed", "Error: "+err.Error())
		f := fail("RunContainerError", err)
		f.retry = 2 * time.Second // then its end shows, and the back-off after it
		return f
	}
	w.containerEvent(a.Container, corev1.EventTypeNormal, "Started", "Container started")
	w.publish(a, id)
	w.makeLink(a, id, config)
	if a.Container.Lifecycle != nil && a.Container.Lifecycle.PostStart != nil {
		return w.postStart(ctx, a, id)
	}
	return nil
}

func (w *Worker) publish(a *attempt, id string) {
	if s, err := w.cfg.Runtime.ContainerStatus(w.ctx, id); err == nil {
		a.running(s)
	}
}

func (w *Worker) postStart(ctx context.Context, a *attempt, id string) *failure {
	err := w.hook(ctx, a.pod, a.Container, id, a.podIPs, a.Container.Lifecycle.PostStart)
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return nil // the pod is ending; the container will be stopped as the others are
	}
	w.log.Warn("postStart hook failed", "container", a.Container.Name, "err", err)
	w.containerEvent(a.Container, corev1.EventTypeWarning, "FailedPostStartHook", "PostStartHook failed")
	w.containerEvent(a.Container, corev1.EventTypeNormal, "Killing", "FailedPostStartHook")
	if e := w.cfg.Runtime.StopContainer(ctx, id, gracePeriod(a.pod)); e != nil {
		w.log.Warn("container not stopped", "container", a.Container.Name, "err", e)
	}
	f := fail("PostStartHookError", err)
	f.retry = 0 // its end is subject to the back-off of restarts
	return f
}

func (w *Worker) containerConfig(ctx context.Context, a *attempt, image runtime.Image) (runtime.ContainerConfig, string, error) {
	pod, c := a.pod, a.Container
	if err := checkNonRoot(pod, c, image); err != nil {
		return runtime.ContainerConfig{}, "", err
	}
	services, known := w.cfg.Services()
	if !known {
		return runtime.ContainerConfig{}, "", errors.New("services have not yet been read at least once, cannot construct envvars")
	}
	vars, err := env.Make(env.Input{
		Pod: pod, Container: c, Services: services, HostIPs: w.cfg.HostIPs(), PodIPs: a.podIPs, Allocatable: w.cfg.Allocatable(),
		Sources: w.cfg.Objects, OpenFile: w.vol.Open,
	})
	if err != nil {
		return runtime.ContainerConfig{}, "", err
	}
	if a.Target != "" && a.target == "" {
		return runtime.ContainerConfig{}, "", fmt.Errorf("unable to find target container %v", a.Target)
	}
	mounts, err := w.vol.Mounts(pod, c, vars)
	if err != nil {
		return runtime.ContainerConfig{}, "", err
	}
	for i := range mounts {
		if mounts[i].Image != "" {
			if found, err := w.cfg.Images.Status(ctx, mounts[i].Image); err == nil {
				mounts[i].Image = found.ID
			}
		}
	}
	mounts, messageFile, err := w.fileMounts(a, mounts)
	if err != nil {
		return runtime.ContainerConfig{}, "", err
	}
	config := runtime.ContainerConfig{
		SandboxID: a.sandbox.ID, Name: c.Name, Attempt: a.number, Image: image.ID, ImageRef: c.Image,
		Command: env.ExpandAll(c.Command, vars.Own, vars.Service), Args: env.ExpandAll(c.Args, vars.Own, vars.Service),
		Env: pairs(vars), WorkingDir: c.WorkingDir, Mounts: mounts,
		Security: security(pod, c, w.cfg.SeccompRoot), Resources: containerResources(pod, c, w.cfg.memoryCapacity()),
		TargetContainer: a.target, TTY: c.TTY, Stdin: c.Stdin, StdinOnce: c.StdinOnce,
		LogPath: filepath.Join(c.Name, strconv.Itoa(int(a.number))+".log"),
		Labels:  containerLabels(pod, c),
	}
	if c.Lifecycle != nil && c.Lifecycle.StopSignal != nil {
		config.StopSignal = string(*c.Lifecycle.StopSignal)
	}
	for _, d := range c.VolumeDevices {
		return config, "", fmt.Errorf("volumeDevice %q: volumes of mode Block are not supported by this node", d.Name)
	}
	return config, messageFile, nil
}

func pairs(vars env.Vars) []runtime.EnvVar {
	list := vars.List()
	out := make([]runtime.EnvVar, 0, len(list))
	for _, s := range list {
		name, value, _ := bytes.Cut([]byte(s), []byte("="))
		out = append(out, runtime.EnvVar{Name: string(name), Value: string(value)})
	}
	return out
}

// fileMounts adds the files that every container gets: hosts, resolv.conf and the one for its last words.
func (w *Worker) fileMounts(a *attempt, mounts []runtime.Mount) ([]runtime.Mount, string, error) {
	pod, c := a.pod, a.Container
	dir := w.cfg.Volumes.PodDir(pod.UID)
	taken := map[string]bool{}
	for _, m := range mounts {
		taken[m.ContainerPath] = true
	}
	add := func(containerPath, name string, content []byte) error {
		if taken[containerPath] {
			return nil
		}
		path := filepath.Join(dir, name)
		if err := writeIfChanged(path, content); err != nil {
			return err
		}
		mounts = append(mounts, runtime.Mount{HostPath: path, ContainerPath: containerPath, Propagation: runtime.PropagationPrivate})
		return nil
	}
	hostname, domain := podfiles.Hostname(pod, w.cfg.Resolver.ClusterDomain)
	hosts, err := podfiles.Hosts(pod, a.podIPs, hostname, domain, w.cfg.HostsFile)
	if err != nil {
		return nil, "", err
	}
	if err := add("/etc/hosts", "etc-hosts", hosts); err != nil {
		return nil, "", err
	}
	dns, _, err := w.cfg.Resolver.DNS(pod)
	if err != nil {
		return nil, "", err
	}
	if err := add("/etc/resolv.conf", "resolv.conf", podfiles.ResolvConf(dns)); err != nil {
		return nil, "", err
	}
	if c.TerminationMessagePath == "" || taken[c.TerminationMessagePath] {
		return mounts, "", nil
	}
	path := filepath.Join(dir, "containers", c.Name, strconv.Itoa(int(a.number)))
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return nil, "", err
	}
	// Fresh for each attempt, and writable for whatever user the container runs as.
	_ = os.Remove(path)
	if err := os.WriteFile(path, nil, 0o666); err != nil {
		return nil, "", err
	}
	if err := os.Chmod(path, 0o666); err != nil {
		return nil, "", err
	}
	mounts = append(mounts, runtime.Mount{HostPath: path, ContainerPath: c.TerminationMessagePath, Propagation: runtime.PropagationPrivate})
	return mounts, path, nil
}

// writeIfChanged leaves a file alone that is right: containers that run have it mounted.
func writeIfChanged(path string, content []byte) error {
	if have, err := os.ReadFile(path); err == nil && bytes.Equal(have, content) {
		return nil
	}
	if err := os.WriteFile(path, content, 0o644); err != nil {
		return err
	}
	return os.Chmod(path, 0o644)
}

// prune forgets all but the last two attempts of a container: the one that runs and the one before, whose log and end can be asked for.
func (w *Worker) prune(name string) {
	list := w.attempts[name]
	for len(list) > 2 {
		last := list[len(list)-1]
		if last.State == runtime.Running {
			break
		}
		if err := w.cfg.Runtime.RemoveContainer(w.ctx, last.ID); err != nil {
			w.log.Warn("old container not removed", "container", name, "err", err)
			break
		}
		w.dropLink(last)
		if last.LogPath != "" {
			_ = os.Remove(last.LogPath)
		}
		if f := last.Annotations[annotationMessageFile]; f != "" {
			_ = os.Remove(f)
		}
		delete(w.messages, last.ID)
		delete(w.told, last.ID)
		list = list[:len(list)-1]
	}
	w.attempts[name] = list
}

// makeLink gives the log the name under which log collectors look for it.
func (w *Worker) makeLink(a *attempt, id string, config runtime.ContainerConfig) {
	if w.cfg.LinkRoot == "" {
		return
	}
	link := filepath.Join(w.cfg.LinkRoot, fmt.Sprintf("%s_%s_%s-%s.log", a.pod.Name, a.pod.Namespace, a.Container.Name, id))
	if err := os.Symlink(filepath.Join(w.cfg.logDirectory(a.pod), config.LogPath), link); err != nil && !errors.Is(err, os.ErrExist) {
		w.log.Warn("log not linked", "link", link, "err", err)
	}
}

func (w *Worker) dropLink(s runtime.ContainerStatus) {
	if w.cfg.LinkRoot != "" {
		_ = os.Remove(filepath.Join(w.cfg.LinkRoot, fmt.Sprintf("%s_%s_%s-%s.log", s.Pod.Name, s.Pod.Namespace, s.Name, s.ID)))
	}
}
