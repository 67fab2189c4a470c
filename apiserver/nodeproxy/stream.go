package nodeproxy

import (
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/skiff-project/skiff/apiserver/kinds"
	"github.com/skiff-project/skiff/apiserver/routes"
	"github.com/skiff-project/skiff/apiserver/server"
)

// stream passes exec, attach and portforward on to the node's agent.
func (p *Proxy) stream(w http.ResponseWriter, r *http.Request, c *routes.Connection) error {
	ctx := r.Context()
	// Web sockets are opened by GET, SPDY by POST: who may only "get" must not run programs because of the protocol.
	access := kinds.Access{User: *c.User, Verb: "create", Version: "v1", Resource: "pods", Subresource: c.Connect, Namespace: c.Namespace, Name: c.Name}
	if decision, reason, err := p.cfg.Authz.Decide(ctx, access); decision != kinds.Allow {
		if err != nil {
			return apierrors.NewInternalError(err)
		}
		return server.Forbidden(access, reason)
	}
	options, path, query, err := streamOptions(c.Connect, r.URL.Query())
	if err != nil {
		return err
	}
	if err := c.Admit(ctx, options); err != nil {
		return err
	}
	pod, err := p.pod(ctx, c.Namespace, c.Name)
	if err != nil {
		return err
	}
	target := fmt.Sprintf("/%s/%s/%s", path, pod.Namespace, pod.Name)
	if c.Connect != "portforward" {
		name, err := container(pod, r.URL.Query().Get("container"))
		if err != nil {
			return err
		}
		target += "/" + name
	}
	if pod.Spec.NodeName == "" {
		return apierrors.NewBadRequest(fmt.Sprintf("pod %s does not have a host assigned", c.Name))
	}
	host, port, err := p.agent(ctx, pod.Spec.NodeName)
	if err != nil {
		return err
	}
	location := &url.URL{Scheme: "https", Host: net.JoinHostPort(host, port), Path: target, RawQuery: query.Encode()}
	p.through(w, r, location, p.nodes, false, true)
	return nil
}

// streamOptions reads what the client asks for and says it in the agent's terms.
func streamOptions(connect string, values url.Values) (options runtime.Object, path string, out url.Values, err error) {
	q := &query{Values: values}
	out = url.Values{}
	std := func(stdin, stdout, stderr, tty bool) {
		for _, s := range []struct {
			on  bool
			key string
		}{{stdin, corev1.ExecStdinParam}, {stdout, corev1.ExecStdoutParam}, {stderr, corev1.ExecStderrParam}, {tty, corev1.ExecTTYParam}} {
			if s.on {
				out.Set(s.key, "1")
			}
		}
	}
	switch connect {
	case "exec":
		o := &corev1.PodExecOptions{Stdin: q.bool("stdin"), Stdout: q.bool("stdout"), Stderr: q.bool("stderr"), TTY: q.bool("tty"),
			Container: q.Get("container"), Command: values["command"]}
		o.Kind, o.APIVersion = "PodExecOptions", "v1"
		std(o.Stdin, o.Stdout, o.Stderr, o.TTY)
		out["command"] = o.Command
		return o, "exec", out, q.err
	case "attach":
		o := &corev1.PodAttachOptions{Stdin: q.bool("stdin"), Stdout: q.bool("stdout"), Stderr: q.bool("stderr"), TTY: q.bool("tty"), Container: q.Get("container")}
		o.Kind, o.APIVersion = "PodAttachOptions", "v1"
		std(o.Stdin, o.Stdout, o.Stderr, o.TTY)
		return o, "attach", out, q.err
	}
	o := &corev1.PodPortForwardOptions{}
	o.Kind, o.APIVersion = "PodPortForwardOptions", "v1"
	for _, list := range values["ports"] {
		for text := range strings.SplitSeq(list, ",") {
			port, err := strconv.ParseInt(text, 10, 32)
			if err != nil {
				return nil, "", nil, apierrors.NewBadRequest(err.Error())
			}
			o.Ports = append(o.Ports, int32(port))
			out.Add(corev1.PortHeader, text)
		}
	}
	return o, "portForward", out, nil
}
