package podworker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/skiff-project/skiff/nodeagent/probes"
)

// hook runs a lifecycle handler in a container and waits for its end.
func (w *Worker) hook(ctx context.Context, pod *corev1.Pod, c *corev1.Container, id string, podIPs []string, h *corev1.LifecycleHandler) error {
	where := fmt.Sprintf("for Container %q in Pod %q failed - error:", c.Name, pod.Name+"_"+pod.Namespace+"("+string(pod.UID)+")")
	switch {
	case h.Exec != nil:
		r, err := w.cfg.Runtime.ExecSync(ctx, id, h.Exec.Command, 0)
		out := string(r.Stdout) + string(r.Stderr)
		if err == nil && r.ExitCode != 0 {
			err = fmt.Errorf("command '%s' exited with %d: %s", strings.Join(h.Exec.Command, " "), r.ExitCode, r.Stderr)
		}
		if err != nil {
			return fmt.Errorf("Exec lifecycle hook (%v) %s %v, message: %q", h.Exec.Command, where, err, out) //nolint:staticcheck // users see it so
		}
	case h.HTTPGet != nil:
		ip := ""
		if len(podIPs) > 0 {
			ip = podIPs[0]
		}
		if err := w.httpHook(ctx, pod, c, ip, h.HTTPGet); err != nil {
			return fmt.Errorf("HTTP lifecycle hook (%s) %s %v", h.HTTPGet.Path, where, err)
		}
	case h.Sleep != nil:
		select {
		case <-time.After(time.Duration(h.Sleep.Seconds) * time.Second):
		case <-ctx.Done():
			return ctx.Err()
		}
	default:
		return fmt.Errorf("invalid handler: %v", h)
	}
	return nil
}

func (w *Worker) httpHook(ctx context.Context, pod *corev1.Pod, c *corev1.Container, podIP string, get *corev1.HTTPGetAction) error {
	req, err := probes.NewHTTPRequest(ctx, get, c, podIP)
	if err != nil {
		return err
	}
	req.Header.Set("User-Agent", "kube-lifecycle/1.37")
	client := &http.Client{Transport: probes.Transport}
	res, err := client.Do(req)
	if err != nil && req.URL.Scheme == "https" && strings.Contains(err.Error(), "server gave HTTP response to HTTPS client") {
		// Before 1.23 the scheme was ignored; manifests that rely on it go on working.
		req.URL.Scheme = "http"
		req.Header.Del("Authorization")
		if res, err = client.Do(req); err == nil {
			w.cfg.Recorder.Eventf(pod, corev1.EventTypeWarning, "LifecycleHTTPFallback",
				"request to HTTPS lifecycle hook %s got HTTP response, retry with HTTP succeeded", req.URL.Host)
		}
	}
	if err != nil {
		return err
	}
	_, _ = io.Copy(io.Discard, io.LimitReader(res.Body, 10<<10))
	return errors.Join(res.Body.Close())
}
