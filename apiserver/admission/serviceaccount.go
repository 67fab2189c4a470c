package admission

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/validation/path"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/rand"
)

const (
	defaultAccount = "default"
	tokenMount     = "/var/run/secrets/kubernetes.io/serviceaccount"
	tokenVolume    = "kube-api-access"
	// tokenSeconds tells the token issuer that the client did not ask for a life of its own; see authn.
	tokenSeconds     = 3607
	mountableSecrets = "kubernetes.io/enforce-mountable-secrets"
	// A namespace's default account is made by a controller a moment after the namespace.
	accountWait = time.Second
	accountPoll = 20 * time.Millisecond
)

// ServiceAccount gives pods their account, its pull secrets and a token.
func ServiceAccount(o *Objects) Rule {
	return Rule{
		Name: "ServiceAccount",
		Mutate: func(ctx context.Context, a *Attributes) error {
			if !a.Is("", "pods", "") || a.Operation != Create {
				return nil
			}
			pod := a.Object.(*corev1.Pod)
			if isMirror(pod) {
				return mirrorRefersNothing(a, pod)
			}
			if pod.Spec.ServiceAccountName == "" {
				pod.Spec.ServiceAccountName, pod.Spec.DeprecatedServiceAccount = defaultAccount, defaultAccount
			}
			account, err := o.account(ctx, a, pod)
			if err != nil {
				return err
			}
			if wantsToken(account, pod) {
				mountToken(pod)
			}
			if len(pod.Spec.ImagePullSecrets) == 0 && len(account.ImagePullSecrets) > 0 {
				pod.Spec.ImagePullSecrets = slices.Clone(account.ImagePullSecrets)
			}
			return nil
		},
		Validate: func(ctx context.Context, a *Attributes) error {
			switch {
			case a.Is("", "pods", "") && a.Operation == Create:
				pod := a.Object.(*corev1.Pod)
				if isMirror(pod) {
					return mirrorRefersNothing(a, pod)
				}
				return o.accountAllows(ctx, a, pod, podSecrets(pod))
			case a.Is("", "pods", "ephemeralcontainers") && a.Operation == Update:
				pod := a.Object.(*corev1.Pod)
				return o.accountAllows(ctx, a, pod, ephemeralSecrets(pod))
			}
			return nil
		},
	}
}

func isMirror(pod *corev1.Pod) bool {
	_, mirror := pod.Annotations[corev1.MirrorPodAnnotationKey]
	return mirror
}

// mirrorRefersNothing: a node makes mirror pods, and must not gain access to anything by them.
func mirrorRefersNothing(a *Attributes, pod *corev1.Pod) error {
	if pod.Spec.ServiceAccountName != "" {
		return forbidden(a, "a mirror pod may not reference service accounts")
	}
	if refersTo(pod).secrets {
		return forbidden(a, "a mirror pod may not reference secrets")
	}
	for _, v := range pod.Spec.Volumes {
		if v.Projected == nil {
			continue
		}
		for _, s := range v.Projected.Sources {
			if s.ServiceAccountToken != nil {
				return forbidden(a, "a mirror pod may not use ServiceAccountToken volume projections")
			}
		}
	}
	return nil
}

func (o *Objects) account(ctx context.Context, a *Attributes, pod *corev1.Pod) (*corev1.ServiceAccount, error) {
	name := pod.Spec.ServiceAccountName
	if name == "" {
		return nil, forbidden(a, "no service account specified for pod %s/%s", a.Namespace, pod.Name)
	}
	// Upstream asks for the account by a path.
	if wrong := path.IsValidPathSegmentName(name); len(wrong) > 0 {
		return nil, forbidden(a, "error looking up service account %s/%s: invalid resource name %q: %v", a.Namespace, name, name, wrong)
	}
	obj, err := o.get(ctx, core("serviceaccounts"), a.Namespace, name)
	for deadline := time.Now().Add(accountWait); name == defaultAccount && apierrors.IsNotFound(err) && time.Now().Before(deadline); {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(accountPoll):
		}
		obj, err = o.get(ctx, core("serviceaccounts"), a.Namespace, name)
	}
	if apierrors.IsNotFound(err) {
		err = apierrors.NewNotFound(schema.GroupResource{Resource: "serviceaccount"}, name)
	}
	if err != nil {
		return nil, forbidden(a, "error looking up service account %s/%s: %w", a.Namespace, name, err)
	}
	return obj.(*corev1.ServiceAccount), nil
}

func wantsToken(account *corev1.ServiceAccount, pod *corev1.Pod) bool {
	switch {
	case pod.Spec.AutomountServiceAccountToken != nil:
		return *pod.Spec.AutomountServiceAccountToken
	case account.AutomountServiceAccountToken != nil:
		return *account.AutomountServiceAccountToken
	}
	return true
}

// mountToken mounts a token, the cluster's CA and the namespace where in-cluster clients look for them, in every
// container that has nothing else there.
func mountToken(pod *corev1.Pod) {
	name, have := "", false
	for _, v := range pod.Spec.Volumes {
		if strings.HasPrefix(v.Name, tokenVolume+"-") {
			name, have = v.Name, true
			break
		}
	}
	if !have {
		name = tokenVolume + "-" + rand.String(5)
	}
	needed := false
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			c := &list[i]
			if slices.ContainsFunc(c.VolumeMounts, func(m corev1.VolumeMount) bool { return m.MountPath == tokenMount }) {
				continue
			}
			c.VolumeMounts = append(c.VolumeMounts, corev1.VolumeMount{Name: name, ReadOnly: true, MountPath: tokenMount})
			needed = true
		}
	}
	if needed && !have {
		pod.Spec.Volumes = append(pod.Spec.Volumes, corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{Projected: tokenSource()}})
	}
}

func tokenSource() *corev1.ProjectedVolumeSource {
	mode, seconds := corev1.ProjectedVolumeSourceDefaultMode, int64(tokenSeconds)
	return &corev1.ProjectedVolumeSource{DefaultMode: &mode, Sources: []corev1.VolumeProjection{
		{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Path: "token", ExpirationSeconds: &seconds}},
		{ConfigMap: &corev1.ConfigMapProjection{LocalObjectReference: corev1.LocalObjectReference{Name: "kube-root-ca.crt"},
			Items: []corev1.KeyToPath{{Key: "ca.crt", Path: "ca.crt"}}}},
		{DownwardAPI: &corev1.DownwardAPIProjection{Items: []corev1.DownwardAPIVolumeFile{{Path: "namespace",
			FieldRef: &corev1.ObjectFieldSelector{APIVersion: "v1", FieldPath: "metadata.namespace"}}}}},
	}}
}

// use is one use of a secret. text says where, and is completed by the account's name.
type use struct {
	secret string
	pull   bool
	text   string
}

// accountAllows checks that the account exists and, if it says so, that only its own secrets are used.
func (o *Objects) accountAllows(ctx context.Context, a *Attributes, pod *corev1.Pod, uses []use) error {
	account, err := o.account(ctx, a, pod)
	if err != nil {
		return err
	}
	if enforce, _ := strconv.ParseBool(account.Annotations[mountableSecrets]); !enforce {
		return nil
	}
	for _, u := range uses {
		what, allowed := "secret", slices.ContainsFunc(account.Secrets, func(r corev1.ObjectReference) bool { return r.Name == u.secret })
		if u.pull {
			what, allowed = "imagePullSecret", slices.ContainsFunc(account.ImagePullSecrets, func(r corev1.LocalObjectReference) bool { return r.Name == u.secret })
		}
		if !allowed {
			return forbidden(a, "%s is not allowed because service account %s does not reference that %s", u.text, account.Name, what)
		}
	}
	return nil
}

func podSecrets(pod *corev1.Pod) []use {
	var out []use
	for _, v := range pod.Spec.Volumes {
		if v.Secret != nil {
			out = append(out, use{secret: v.Secret.SecretName, text: fmt.Sprintf("volume with secret.secretName=%q", v.Secret.SecretName)})
		}
	}
	for i := range pod.Spec.InitContainers {
		c := &pod.Spec.InitContainers[i]
		out = append(out, containerSecrets("init container", c.Name, c.Env, c.EnvFrom)...)
	}
	for i := range pod.Spec.Containers {
		c := &pod.Spec.Containers[i]
		out = append(out, containerSecrets("container", c.Name, c.Env, c.EnvFrom)...)
	}
	for i, s := range pod.Spec.ImagePullSecrets {
		out = append(out, use{secret: s.Name, pull: true, text: fmt.Sprintf("imagePullSecrets[%d].name=%q", i, s.Name)})
	}
	return out
}

func ephemeralSecrets(pod *corev1.Pod) []use {
	var out []use
	for i := range pod.Spec.EphemeralContainers {
		c := &pod.Spec.EphemeralContainers[i]
		out = append(out, containerSecrets("ephemeral container", c.Name, c.Env, c.EnvFrom)...)
	}
	return out
}

func containerSecrets(what, name string, env []corev1.EnvVar, from []corev1.EnvFromSource) []use {
	var out []use
	for _, e := range env {
		if e.ValueFrom != nil && e.ValueFrom.SecretKeyRef != nil {
			s := e.ValueFrom.SecretKeyRef.Name
			out = append(out, use{secret: s, text: fmt.Sprintf("%s %s with envVar %s referencing secret.secretName=%q", what, name, e.Name, s)})
		}
	}
	for _, e := range from {
		if e.SecretRef != nil {
			s := e.SecretRef.Name
			out = append(out, use{secret: s, text: fmt.Sprintf("%s %s with envFrom referencing secret.secretName=%q", what, name, s)})
		}
	}
	return out
}
