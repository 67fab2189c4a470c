package podworker

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	corev1 "k8s.io/api/core/v1"

	"github.com/skiff-project/skiff/nodeagent/runtime"
	"github.com/skiff-project/skiff/nodeagent/status"
)

// pulls remembers the pulls that failed, by image.
type pulls struct{ failed map[string]*pull }

type pull struct {
	backoff backoff
	at      time.Time
	message string
	told    bool
}

func newPulls() *pulls { return &pulls{failed: map[string]*pull{}} }

// ensureImage has an image on the node, as the pull policy wants it.
func (w *Worker) ensureImage(ctx context.Context, pod *corev1.Pod, c *corev1.Container, ref string, policy corev1.PullPolicy) (runtime.Image, *failure) {
	if _, err := name.ParseReference(ref, name.WeakValidation); err != nil || strings.TrimSpace(ref) != ref || ref == "" {
		message := fmt.Sprintf("Failed to apply default image tag %q: couldn't parse image name %q: invalid reference format", ref, ref)
		w.containerEvent(c, corev1.EventTypeWarning, "InspectFailed", message)
		w.containerEvent(c, corev1.EventTypeWarning, "Failed", "Error: InvalidImageName")
		return runtime.Image{}, &failure{Reason: status.Reason{Reason: "InvalidImageName", Message: message}, retry: 30 * time.Second}
	}
	if policy == "" {
		policy = corev1.PullIfNotPresent
	}
	have, err := w.cfg.Images.Status(ctx, ref)
	if errors.Is(err, runtime.ErrNotFound) && w.cfg.Bundled != nil {
		select {
		case <-w.cfg.Bundled:
		case <-ctx.Done():
		}
		have, err = w.cfg.Images.Status(ctx, ref)
	}
	present := err == nil
	if err != nil && !errors.Is(err, runtime.ErrNotFound) {
		if ctx.Err() != nil {
			return runtime.Image{}, fail("ContainerCreating", ctx.Err())
		}
		message := fmt.Sprintf("Failed to inspect image %q: %v", ref, err)
		w.containerEvent(c, corev1.EventTypeWarning, "InspectFailed", message)
		return runtime.Image{}, &failure{Reason: status.Reason{Reason: "ImageInspectError", Message: message}, retry: firstDelay}
	}
	switch {
	case present && policy != corev1.PullAlways:
		w.containerEvent(c, corev1.EventTypeNormal, "Pulled", fmt.Sprintf("Container image %q already present on machine and can be accessed by the pod", ref))
		return have, nil
	case policy == corev1.PullNever:
		message := fmt.Sprintf("Container image %q is not present with pull policy of Never", ref)
		w.containerEvent(c, corev1.EventTypeWarning, "ErrImageNeverPull", message)
		w.containerEvent(c, corev1.EventTypeWarning, "Failed", "Error: ErrImageNeverPull")
		return runtime.Image{}, &failure{Reason: status.Reason{Reason: "ErrImageNeverPull", Message: message}, retry: firstDelay}
	}
	return w.pullImage(ctx, pod, c, ref)
}

func (w *Worker) pullImage(ctx context.Context, pod *corev1.Pod, c *corev1.Container, ref string) (runtime.Image, *failure) {
	const most = 5 * time.Minute
	p := w.pulls.failed[ref]
	if p != nil {
		if wait := p.backoff.delay - time.Since(p.at); wait > 0 {
			message := fmt.Sprintf("Back-off pulling image %q: %s", ref, p.message)
			if !p.told {
				p.told = true
				w.containerEvent(c, corev1.EventTypeNormal, "BackOff", fmt.Sprintf("Back-off pulling image %q", ref))
				w.containerEvent(c, corev1.EventTypeWarning, "Failed", "Error: ImagePullBackOff")
			}
			return runtime.Image{}, &failure{Reason: status.Reason{Reason: "ImagePullBackOff", Message: message}, retry: wait}
		}
	}
	w.containerEvent(c, corev1.EventTypeNormal, "Pulling", fmt.Sprintf("Pulling image %q", ref))
	begun := time.Now()
	image, err := w.cfg.Images.Pull(ctx, ref, w.credentials(pod, ref), nil)
	if err == nil {
		delete(w.pulls.failed, ref)
		took := time.Since(begun).Truncate(time.Millisecond)
		w.containerEvent(c, corev1.EventTypeNormal, "Pulled",
			fmt.Sprintf("Successfully pulled image %q in %v (%v including waiting). Image size: %v bytes.", ref, took, took, image.Size))
		return image, nil
	}
	if ctx.Err() != nil {
		return runtime.Image{}, fail("ContainerCreating", ctx.Err())
	}
	if p == nil {
		p = &pull{}
		w.pulls.failed[ref] = p
	}
	now := time.Now()
	p.backoff.next(now, now, most)
	p.at, p.told, p.message = now, false, "ErrImagePull: "+err.Error()
	w.containerEvent(c, corev1.EventTypeWarning, "Failed", fmt.Sprintf("Failed to pull image %q: %v", ref, err))
	w.containerEvent(c, corev1.EventTypeWarning, "Failed", "Error: ErrImagePull")
	// Soon afterwards the next look finds the back-off and shows that.
	return runtime.Image{}, &failure{Reason: status.Reason{Reason: "ErrImagePull", Message: err.Error()}, retry: 2 * time.Second}
}

// ensureImageVolumes has the images of the pod's image volumes, and notes their digests for the status.
func (w *Worker) ensureImageVolumes(ctx context.Context, a *attempt) *failure {
	refs := map[string]string{}
	for i := range a.pod.Spec.Volumes {
		v := &a.pod.Spec.Volumes[i]
		if v.Image == nil {
			continue
		}
		image, bad := w.ensureImage(ctx, a.pod, a.Container, v.Image.Reference, v.Image.PullPolicy)
		if bad != nil {
			return bad
		}
		refs[v.Name] = image.StatusID()
	}
	if len(refs) > 0 {
		select {
		case w.results <- func() { w.imageRefs = refs }:
		case <-ctx.Done():
		}
	}
	return nil
}

// dockerConfig is what a pull secret holds.
type dockerConfig struct {
	Auths map[string]dockerAuth `json:"auths"`
}

type dockerAuth struct {
	Username      string `json:"username"`
	Password      string `json:"password"`
	Auth          string `json:"auth"`
	IdentityToken string `json:"identitytoken"`
	RegistryToken string `json:"registrytoken"`
}

// credentials are those of the pod's pull secrets that are for an image's registry.
func (w *Worker) credentials(pod *corev1.Pod, ref string) []runtime.RegistryAuth {
	parsed, err := name.ParseReference(ref, name.WeakValidation)
	if err != nil {
		return nil
	}
	var out []runtime.RegistryAuth
	var missing []string
	for _, s := range pod.Spec.ImagePullSecrets {
		secret, err := w.cfg.Objects.Secret(pod.Namespace, s.Name)
		if err != nil {
			missing = append(missing, s.Name)
			continue
		}
		for host, a := range auths(secret) {
			if matches(host, parsed.Context().RegistryStr(), parsed.Context().RepositoryStr()) {
				out = append(out, a.credential(host))
			}
		}
	}
	if len(missing) > 0 {
		w.cfg.Recorder.Eventf(pod, corev1.EventTypeWarning, "FailedToRetrieveImagePullSecret",
			"Unable to retrieve some image pull secrets (%s); attempting to pull the image may not succeed.", strings.Join(missing, ", "))
	}
	return out
}

func auths(s *corev1.Secret) map[string]dockerAuth {
	var config dockerConfig
	switch s.Type {
	case corev1.SecretTypeDockerConfigJson:
		_ = json.Unmarshal(s.Data[corev1.DockerConfigJsonKey], &config)
	case corev1.SecretTypeDockercfg:
		_ = json.Unmarshal(s.Data[corev1.DockerConfigKey], &config.Auths)
	}
	return config.Auths
}

func (a dockerAuth) credential(host string) runtime.RegistryAuth {
	out := runtime.RegistryAuth{Username: a.Username, Password: a.Password, IdentityToken: a.IdentityToken, RegistryToken: a.RegistryToken, ServerAddress: host}
	if raw, err := base64.StdEncoding.DecodeString(a.Auth); err == nil && out.Username == "" {
		out.Username, out.Password, _ = strings.Cut(string(raw), ":")
	}
	return out
}

// matches says whether a credential's key (a host, with globs and perhaps a path) is for a repository.
func matches(key, registry, repository string) bool {
	key = strings.TrimPrefix(strings.TrimPrefix(key, "https://"), "http://")
	host, prefix, _ := strings.Cut(strings.TrimSuffix(key, "/"), "/")
	if host == "docker.io" || host == "registry-1.docker.io" {
		host = name.DefaultRegistry
	}
	if prefix == "v1" || prefix == "v2" { // of Docker's own way to write its registry
		prefix = ""
	}
	ok, err := path.Match(host, registry)
	return err == nil && ok && strings.Count(host, ".") == strings.Count(registry, ".") && strings.HasPrefix(repository, prefix)
}
