package nodeproxy

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// query reads parameters; the first one that is wrong is kept.
type query struct {
	url.Values
	err error
}

func (q *query) bool(key string) bool {
	values, ok := q.Values[key]
	if !ok {
		return false
	}
	// Present without a value is true, and so is what is not plainly false: the API's rule for all its booleans.
	switch strings.ToLower(values[0]) {
	case "false", "0":
		return false
	}
	return true
}

func (q *query) int(key string) *int64 {
	text := q.Get(key)
	if text == "" {
		return nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil && q.err == nil {
		q.err = apierrors.NewBadRequest(err.Error())
	}
	return &n
}

func logOptions(values url.Values, pod string) (*corev1.PodLogOptions, error) {
	q := &query{Values: values}
	o := &corev1.PodLogOptions{
		Container: q.Get("container"), Follow: q.bool("follow"), Previous: q.bool("previous"), Timestamps: q.bool("timestamps"),
		SinceSeconds: q.int("sinceSeconds"), TailLines: q.int("tailLines"), LimitBytes: q.int("limitBytes"),
		InsecureSkipTLSVerifyBackend: q.bool("insecureSkipTLSVerifyBackend"),
	}
	o.Kind, o.APIVersion = "PodLogOptions", "v1"
	if text := q.Get("sinceTime"); text != "" {
		t, err := time.Parse(time.RFC3339, text)
		if err != nil && q.err == nil {
			q.err = apierrors.NewBadRequest(err.Error())
		}
		o.SinceTime = &metav1.Time{Time: t}
	}
	if text := q.Get("stream"); text != "" {
		o.Stream = &text
	}
	if q.err != nil {
		return nil, q.err
	}
	var errs field.ErrorList
	invalid := func(name string, value *int64, below int64, text string) {
		if value != nil && *value < below {
			errs = append(errs, field.Invalid(field.NewPath(name), *value, text))
		}
	}
	invalid("tailLines", o.TailLines, 0, "must be greater than or equal to 0")
	invalid("limitBytes", o.LimitBytes, 1, "must be greater than 0")
	if o.SinceSeconds != nil && o.SinceTime != nil {
		errs = append(errs, field.Forbidden(field.NewPath(""), "at most one of `sinceTime` or `sinceSeconds` may be specified"))
	} else {
		invalid("sinceSeconds", o.SinceSeconds, 1, "must be greater than 0")
	}
	if o.Stream != nil {
		errs = append(errs, field.Forbidden(field.NewPath("stream"), "may not be specified"))
	}
	if len(errs) > 0 {
		return nil, apierrors.NewInvalid(corev1.SchemeGroupVersion.WithKind("PodLogOptions").GroupKind(), pod, errs)
	}
	return o, nil
}

// logQuery is what the node's agent is asked.
func logQuery(o *corev1.PodLogOptions) url.Values {
	out := url.Values{}
	for key, on := range map[string]bool{"follow": o.Follow, "previous": o.Previous, "timestamps": o.Timestamps} {
		if on {
			out.Set(key, "true")
		}
	}
	for key, n := range map[string]*int64{"sinceSeconds": o.SinceSeconds, "tailLines": o.TailLines, "limitBytes": o.LimitBytes} {
		if n != nil {
			out.Set(key, strconv.FormatInt(*n, 10))
		}
	}
	if o.SinceTime != nil {
		out.Set("sinceTime", o.SinceTime.Format(time.RFC3339))
	}
	return out
}

func containerNames(pod *corev1.Pod) []string {
	var out []string
	for i := range pod.Spec.InitContainers {
		out = append(out, pod.Spec.InitContainers[i].Name)
	}
	for i := range pod.Spec.Containers {
		out = append(out, pod.Spec.Containers[i].Name)
	}
	for i := range pod.Spec.EphemeralContainers {
		out = append(out, pod.Spec.EphemeralContainers[i].Name)
	}
	return out
}

// container is the one that is meant.
func container(pod *corev1.Pod, name string) (string, error) {
	switch {
	case name == "" && len(pod.Spec.Containers) == 1:
		return pod.Spec.Containers[0].Name, nil
	case name == "" && len(pod.Spec.Containers) == 0:
		return "", apierrors.NewBadRequest(fmt.Sprintf("a container name must be specified for pod %s", pod.Name))
	case name == "":
		return "", apierrors.NewBadRequest(fmt.Sprintf("a container name must be specified for pod %s, choose one of: %s", pod.Name, containerNames(pod)))
	case !slices.Contains(containerNames(pod), name):
		return "", apierrors.NewBadRequest(fmt.Sprintf("container %s is not valid for pod %s", name, pod.Name))
	}
	return name, nil
}
