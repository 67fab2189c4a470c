package server

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/gorilla/mux"
	corev1 "k8s.io/api/core/v1"

	"github.com/skiff-project/skiff/nodeagent/containerlog"
	"github.com/skiff-project/skiff/nodeagent/runtime"
)

func (s *Server) containerLogs(w http.ResponseWriter, r *http.Request) {
	options, previous, err := logOptions(r.URL.Query())
	if err != nil {
		refuse(w, err)
		return
	}
	vars := mux.Vars(r)
	pod, ok := s.config.Pods.Pod(vars["namespace"], vars["pod"])
	if !ok {
		refuse(w, notFound("pod %q not found\n", vars["pod"]))
		return
	}
	name := vars["container"]
	if !hasContainer(pod, name) {
		refuse(w, notFound("container %q not found in pod %q\n", name, pod.Name))
		return
	}
	container, err := s.loggedContainer(r.Context(), pod, name, previous)
	if err != nil {
		refuse(w, err)
		return
	}
	w.Header().Set("Content-Type", "text/plain")
	out := flushing(w)
	if options.Follow {
		// Headers go at once: who follows a silent container should know that he does.
		w.WriteHeader(http.StatusOK)
		http.NewResponseController(w).Flush()
	}
	ended, stop := s.whenEnded(r.Context(), container.ID)
	defer stop()
	if err := containerlog.Read(r.Context(), container.LogPath, options, ended, out, out); err != nil && r.Context().Err() == nil {
		s.log.Warn("log of container could not be read", "pod", pod.Namespace+"/"+pod.Name, "container", name, "error", err)
	}
}

func logOptions(q url.Values) (o containerlog.Options, previous bool, err error) {
	boolean := func(key string) bool {
		v := strings.ToLower(q.Get(key))
		return q.Has(key) && v != "false" && v != "0"
	}
	number := func(key string) *int64 {
		text := q.Get(key)
		if text == "" {
			return nil
		}
		n, parseErr := strconv.ParseInt(text, 10, 64)
		if parseErr != nil && err == nil {
			err = &refusal{http.StatusBadRequest, `{"message": "Unable to decode query."}`}
		}
		return &n
	}
	o.Follow, o.Timestamps = boolean("follow"), boolean("timestamps")
	o.TailLines, o.LimitBytes = number("tailLines"), number("limitBytes")
	if seconds := number("sinceSeconds"); seconds != nil {
		o.Since = time.Now().Add(-time.Duration(*seconds) * time.Second)
	}
	if text := q.Get("sinceTime"); text != "" {
		t, parseErr := time.Parse(time.RFC3339, text)
		if parseErr != nil && err == nil {
			err = &refusal{http.StatusBadRequest, `{"message": "Unable to decode query."}`}
		}
		o.Since = t
	}
	switch q.Get("stream") {
	case corev1.LogStreamStdout:
		o.Stream = containerlog.Stdout
	case corev1.LogStreamStderr:
		o.Stream = containerlog.Stderr
	}
	return o, boolean("previous"), err
}

// loggedContainer finds whose log is meant, or says as the kubelet does why there is none yet.
func (s *Server) loggedContainer(ctx context.Context, pod *corev1.Pod, name string, previous bool) (runtime.ContainerStatus, error) {
	all, err := s.containersOf(ctx, pod, name)
	if err != nil {
		return runtime.ContainerStatus{}, err
	}
	// A container that is still to be started has said nothing.
	for len(all) > 0 && all[0].State == runtime.Created {
		all = all[1:]
	}
	status, known := containerStatus(pod, name)
	if previous {
		// The one before the current one; while the next is waited for, the last one is still the current.
		if len(all) > 1 {
			return all[1], nil
		}
		if len(all) == 1 && known && status.LastTerminationState.Terminated != nil && strings.HasSuffix(status.LastTerminationState.Terminated.ContainerID, all[0].ID) {
			return all[0], nil
		}
		return runtime.ContainerStatus{}, badRequest("previous terminated container %q in pod %q not found", name, pod.Name)
	}
	if len(all) > 0 {
		return all[0], nil
	}
	if !known {
		return runtime.ContainerStatus{}, badRequest("container %q in pod %q is not available", name, pod.Name)
	}
	if waiting := status.State.Waiting; waiting != nil {
		switch waiting.Reason {
		case "ErrImagePull":
			return runtime.ContainerStatus{}, badRequest("container %q in pod %q is waiting to start: image can't be pulled", name, pod.Name)
		case "ImagePullBackOff":
			return runtime.ContainerStatus{}, badRequest("container %q in pod %q is waiting to start: trying and failing to pull image", name, pod.Name)
		}
		return runtime.ContainerStatus{}, badRequest("container %q in pod %q is waiting to start: %v", name, pod.Name, waiting.Reason)
	}
	if status.State.Terminated != nil {
		return runtime.ContainerStatus{}, badRequest("container %q in pod %q is terminated", name, pod.Name)
	}
	return runtime.ContainerStatus{}, badRequest("container %q in pod %q is waiting to start - no logs yet", name, pod.Name)
}

// whenEnded closes a channel when a container has ended or is gone.
func (s *Server) whenEnded(ctx context.Context, id string) (ended <-chan struct{}, stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	events := s.config.Runtime.Events(ctx)
	go func() {
		for {
			// Looked at after every event: one may have been lost, and the first look comes after the subscription.
			status, err := s.config.Runtime.ContainerStatus(ctx, id)
			if err != nil || status.State == runtime.Exited {
				close(done)
				return
			}
			for relevant := false; !relevant; {
				event, ok := <-events
				if !ok {
					return
				}
				relevant = event.ContainerID == id || event.Kind == runtime.Missed
			}
		}
	}()
	return done, cancel
}

// flushing sends what is written at once; the log reader writes what belongs together in one piece.
func flushing(w http.ResponseWriter) io.Writer { return &flusher{w, http.NewResponseController(w)} }

type flusher struct {
	w       http.ResponseWriter
	control *http.ResponseController
}

func (f *flusher) Write(p []byte) (int, error) {
	n, err := f.w.Write(p)
	if err == nil {
		err = f.control.Flush()
	}
	return n, err
}
