package admission_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"github.com/skiff-project/skiff/apiserver/apitest"
)

var (
	ctx    = context.Background()
	create = metav1.CreateOptions{}
)

func namespace(t *testing.T, c kubernetes.Interface, name string, labels map[string]string) {
	t.Helper()
	if _, err := c.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}}, create); err != nil {
		t.Fatal(err)
	}
	if _, err := c.CoreV1().ServiceAccounts(name).Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "default"},
		ImagePullSecrets: []corev1.LocalObjectReference{{Name: "pull"}}}, create); err != nil {
		t.Fatal(err)
	}
}

func pod(name string) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "i"}}}}
}

func wantError(t *testing.T, err error, text string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), text) {
		t.Errorf("error is %v, want ... %s", err, text)
	}
}

func TestRules(t *testing.T) {
	api := apitest.Start(t)
	c := api.Client()
	namespace(t, c, "ns", nil)
	pods := c.CoreV1().Pods("ns")

	t.Run("a pod gets its account, token, priority and tolerations", func(t *testing.T) {
		p, err := pods.Create(ctx, pod("plain"), create)
		if err != nil {
			t.Fatal(err)
		}
		if p.Spec.ServiceAccountName != "default" || len(p.Spec.ImagePullSecrets) != 1 || len(p.Spec.Volumes) != 1 ||
			!strings.HasPrefix(p.Spec.Volumes[0].Name, "kube-api-access-") || len(p.Spec.Containers[0].VolumeMounts) != 1 {
			t.Errorf("account: %+v", p.Spec)
		}
		if p.Spec.Priority == nil || *p.Spec.Priority != 0 || len(p.Spec.Tolerations) != 2 {
			t.Errorf("priority %v, tolerations %v", p.Spec.Priority, p.Spec.Tolerations)
		}
	})
	t.Run("no account, no pod", func(t *testing.T) {
		p := pod("x")
		p.Spec.ServiceAccountName = "nosuch"
		_, err := pods.Create(ctx, p, create)
		wantError(t, err, `pods "x" is forbidden: error looking up service account ns/nosuch: serviceaccount "nosuch" not found`)
	})
	t.Run("priority classes", func(t *testing.T) {
		p := pod("critical")
		p.Spec.PriorityClassName = "system-node-critical"
		got, err := pods.Create(ctx, p, create)
		if err != nil || *got.Spec.Priority != 2000001000 {
			t.Errorf("%v, %v", got.Spec.Priority, err)
		}
		p = pod("y")
		p.Spec.PriorityClassName = "nosuch"
		_, err = pods.Create(ctx, p, create)
		wantError(t, err, "no PriorityClass with name nosuch was found")
		for i, want := range []string{"", "is already marked as default. Only one default can exist"} {
			_, err := c.SchedulingV1().PriorityClasses().Create(ctx, &schedulingv1.PriorityClass{ObjectMeta: metav1.ObjectMeta{Name: []string{"a", "b"}[i]}, GlobalDefault: true, Value: 7}, create)
			if want == "" && err != nil {
				t.Fatal(err)
			} else if want != "" {
				wantError(t, err, want)
			}
		}
		if got, err := pods.Create(ctx, pod("default-priority"), create); err != nil || *got.Spec.Priority != 7 || got.Spec.PriorityClassName != "a" {
			t.Errorf("%v, %v", got.Spec, err)
		}
	})
	t.Run("a default class counts from the answer to its making to the answer to its end", func(t *testing.T) {
		classes := c.SchedulingV1().PriorityClasses()
		for i := range int32(100) {
			if err := classes.Delete(ctx, "a", metav1.DeleteOptions{}); err != nil {
				t.Fatal(err)
			}
			if got, err := pods.Create(ctx, pod(fmt.Sprintf("without-%d", i)), create); err != nil || *got.Spec.Priority != 0 {
				t.Fatalf("behind the deletion: %v, %v", got.Spec.Priority, err)
			}
			class := &schedulingv1.PriorityClass{ObjectMeta: metav1.ObjectMeta{Name: "a"}, GlobalDefault: true, Value: 10 + i}
			if _, err := classes.Create(ctx, class, create); err != nil {
				t.Fatal(err)
			}
			if got, err := pods.Create(ctx, pod(fmt.Sprintf("with-%d", i)), create); err != nil || *got.Spec.Priority != class.Value {
				t.Fatalf("behind the creation: %v, %v", got.Spec.Priority, err)
			}
		}
	})
	t.Run("namespaces", func(t *testing.T) {
		_, err := c.CoreV1().Pods("nosuch").Create(ctx, pod("x"), create)
		wantError(t, err, `namespaces "nosuch" not found`)
		wantError(t, c.CoreV1().Namespaces().Delete(ctx, "default", metav1.DeleteOptions{}), `namespaces "default" is forbidden: this namespace may not be deleted`)
		namespace(t, c, "going", nil)
		if err := c.CoreV1().Namespaces().Delete(ctx, "going", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		_, err = c.CoreV1().ConfigMaps("going").Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "x"}}, create)
		wantError(t, err, `configmaps "x" is forbidden: unable to create new content in namespace going because it is being terminated`)
		if !apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
			t.Errorf("no cause: %v", err)
		}
	})
	t.Run("limit ranges", func(t *testing.T) {
		namespace(t, c, "limits", nil)
		q := resource.MustParse
		_, err := c.CoreV1().LimitRanges("limits").Create(ctx, &corev1.LimitRange{ObjectMeta: metav1.ObjectMeta{Name: "l"}, Spec: corev1.LimitRangeSpec{
			Limits: []corev1.LimitRangeItem{{Type: corev1.LimitTypeContainer,
				Default: corev1.ResourceList{"cpu": q("500m")}, DefaultRequest: corev1.ResourceList{"cpu": q("100m")}, Max: corev1.ResourceList{"cpu": q("1")}}}}}, create)
		if err != nil {
			t.Fatal(err)
		}
		got, err := c.CoreV1().Pods("limits").Create(ctx, pod("a"), create)
		if err != nil || got.Spec.Containers[0].Resources.Limits.Cpu().String() != "500m" ||
			got.Annotations["kubernetes.io/limit-ranger"] != "LimitRanger plugin set: cpu request for container c; cpu limit for container c" {
			t.Errorf("%v %v %v", err, got.Spec.Containers[0].Resources, got.Annotations)
		}
		big := pod("b")
		big.Spec.Containers[0].Resources.Limits = corev1.ResourceList{"cpu": q("2")}
		_, err = c.CoreV1().Pods("limits").Create(ctx, big, create)
		wantError(t, err, `maximum cpu usage per Container is 1, but limit is 2`)
	})
	t.Run("pod security", func(t *testing.T) {
		namespace(t, c, "tight", map[string]string{"pod-security.kubernetes.io/enforce": "baseline"})
		p := pod("host")
		p.Spec.HostNetwork = true
		_, err := c.CoreV1().Pods("tight").Create(ctx, p, create)
		wantError(t, err, `pods "host" is forbidden: violates PodSecurity "baseline:latest": host namespaces (hostNetwork=true)`)
	})
	t.Run("storage", func(t *testing.T) {
		if _, err := c.StorageV1().StorageClasses().Create(ctx, &storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: "std",
			Annotations: map[string]string{"storageclass.kubernetes.io/is-default-class": "true"}}, Provisioner: "example.com/p"}, create); err != nil {
			t.Fatal(err)
		}
		claim, err := c.CoreV1().PersistentVolumeClaims("ns").Create(ctx, &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: "c"},
			Spec: corev1.PersistentVolumeClaimSpec{AccessModes: []corev1.PersistentVolumeAccessMode{"ReadWriteOnce"},
				Resources: corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{"storage": resource.MustParse("1Gi")}}}}, create)
		if err != nil || claim.Spec.StorageClassName == nil || *claim.Spec.StorageClassName != "std" || len(claim.Finalizers) != 1 {
			t.Errorf("%v: %+v", err, claim)
		}
	})
}

func TestNodeRestriction(t *testing.T) {
	api := apitest.Start(t)
	admin := api.Client()
	node := api.ClientFor(api.As("system:node:one", "system:nodes"))
	namespace(t, admin, "ns", nil)

	n, err := node.CoreV1().Nodes().Create(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "one", Labels: map[string]string{"kubernetes.io/hostname": "one"}}}, create)
	if err != nil {
		t.Fatal(err)
	}
	if len(n.Spec.Taints) != 1 || n.Spec.Taints[0].Key != corev1.TaintNodeNotReady {
		t.Errorf("taints of a new node: %v", n.Spec.Taints)
	}
	_, err = node.CoreV1().Nodes().Create(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "two"}}, create)
	wantError(t, err, `node "one" is not allowed to modify node "two"`)
	n.Labels["node-restriction.kubernetes.io/secret"] = "x"
	_, err = node.CoreV1().Nodes().Update(ctx, n, metav1.UpdateOptions{})
	wantError(t, err, "is not allowed to modify labels: node-restriction.kubernetes.io/secret")

	for name, on := range map[string]string{"here": "one", "there": "two"} {
		p := pod(name)
		p.Spec.NodeName = on
		p.Spec.Containers[0].EnvFrom = []corev1.EnvFromSource{{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: name}}}}
		if _, err := admin.CoreV1().Pods("ns").Create(ctx, p, create); err != nil {
			t.Fatal(err)
		}
		if _, err := admin.CoreV1().Secrets("ns").Create(ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name}}, create); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := node.CoreV1().Secrets("ns").Get(ctx, "here", metav1.GetOptions{}); err != nil {
		t.Errorf("secret of its own pod: %v", err)
	}
	_, err = node.CoreV1().Secrets("ns").Get(ctx, "there", metav1.GetOptions{})
	wantError(t, err, "no relationship found between node 'one' and this object")
	if list, err := node.CoreV1().Pods("").List(ctx, metav1.ListOptions{FieldSelector: "spec.nodeName=one"}); err != nil || len(list.Items) != 1 {
		t.Errorf("own pods: %v, %v", list, err)
	}
	_, err = node.CoreV1().Pods("").List(ctx, metav1.ListOptions{})
	wantError(t, err, "can only list/watch pods with spec.nodeName field selector")
	wantError(t, node.CoreV1().Pods("ns").Delete(ctx, "there", metav1.DeleteOptions{}), "can only delete pods with spec.nodeName set to itself")

	here, err := admin.CoreV1().Pods("ns").Get(ctx, "here", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	ask := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{BoundObjectRef: &authenticationv1.BoundObjectReference{Kind: "Pod", APIVersion: "v1", Name: "here", UID: here.UID}}}
	token, err := node.CoreV1().ServiceAccounts("ns").CreateToken(ctx, "default", ask, create)
	if err != nil {
		t.Fatal(err)
	}
	asPod := api.ClientFor(api.WithToken(token.Status.Token))
	me, err := asPod.AuthenticationV1().SelfSubjectReviews().Create(ctx, &authenticationv1.SelfSubjectReview{}, create)
	if err != nil || me.Status.UserInfo.Username != "system:serviceaccount:ns:default" || me.Status.UserInfo.Extra["authentication.kubernetes.io/pod-name"][0] != "here" {
		text, _ := json.Marshal(me)
		t.Errorf("%v: %s", err, text)
	}
	_, err = node.CoreV1().ServiceAccounts("ns").CreateToken(ctx, "default", &authenticationv1.TokenRequest{}, create)
	wantError(t, err, "node requested token not bound to a pod")
}

// What another server has acknowledged about a namespace counts for the next object, though this one may not have heard of it.
func TestNamespaceChangedThroughAnotherServer(t *testing.T) {
	api := apitest.Start(t)
	here, there := api.Client(), api.ClientFor(api.Second().Config)
	for i := range 20 {
		name := fmt.Sprintf("n%d", i)
		namespace(t, here, name, nil)
		relabel := func(labels string) {
			t.Helper()
			if _, err := there.CoreV1().Namespaces().Patch(ctx, name, types.MergePatchType, []byte(`{"metadata":{"labels":`+labels+`}}`), metav1.PatchOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		relabel(`{"pod-security.kubernetes.io/enforce":"baseline"}`)
		bad := pod("p")
		bad.Spec.HostNetwork = true
		_, err := here.CoreV1().Pods(name).Create(ctx, bad, create)
		wantError(t, err, `violates PodSecurity "baseline:latest": host namespaces (hostNetwork=true)`)
		relabel(`{"pod-security.kubernetes.io/enforce":null,"a":"b"}`)
		if _, err := here.CoreV1().Pods(name).Create(ctx, bad, create); err != nil {
			t.Fatal(err)
		}
		if err := there.CoreV1().Namespaces().Delete(ctx, name, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		_, err = here.CoreV1().ConfigMaps(name).Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{GenerateName: "late-"}}, create)
		if !apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
			t.Fatalf("a new object in a namespace that is being deleted: %v", err)
		}
	}
}
