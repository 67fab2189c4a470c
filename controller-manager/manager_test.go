package controllermanager

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	storagev1 "k8s.io/api/storage/v1"
	migrationv1 "k8s.io/api/storagemigration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"

	"github.com/skiff-project/skiff/apiserver/apitest"
	"github.com/skiff-project/skiff/pkg/certs"
	"github.com/skiff-project/skiff/pkg/client"
)

// start runs all controllers against a real API server, with the identity and the rights that they have in production.
func start(t *testing.T) (*apitest.Server, kubernetes.Interface) {
	t.Helper()
	api := apitest.Start(t)
	c := Defaults()
	c.REST = api.As("system:kube-controller-manager")
	c.REST.UserAgent = client.UserAgent("kube-controller-manager")
	client.Protobuf(c.REST)
	c.REST.WarningHandler = rest.NoWarnings{}
	c.Health.Port = 0
	c.NodeGracePeriod = 2 * time.Second
	pki := func(name string) string { return filepath.Join(api.Dir, "pki", name) }
	c.RootCA, c.SigningCert, c.SigningKey, c.ServiceAccountKey = pki("ca.crt"), pki("ca.crt"), pki("ca.key"), pki("sa.key")
	manager, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- manager.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return api, api.Client()
}

// within waits for a condition; check says what is missing.
func within(t *testing.T, d time.Duration, check func() error) {
	t.Helper()
	var err error
	for deadline := time.Now().Add(d); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if err = check(); err == nil {
			return
		}
	}
	t.Fatalf("after %s: %v", d, err)
}

const soon = 20 * time.Second

func newNamespace(t *testing.T, c kubernetes.Interface, name string) {
	t.Helper()
	_, err := c.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	within(t, soon, func() error {
		if _, err := c.CoreV1().ConfigMaps(name).Get(t.Context(), "kube-root-ca.crt", metav1.GetOptions{}); err != nil {
			return err
		}
		_, err := c.CoreV1().ServiceAccounts(name).Get(t.Context(), "default", metav1.GetOptions{})
		return err
	})
}

func template(image string) corev1.PodTemplateSpec {
	return corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "web"}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: image, Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: 8080}}}}},
	}
}

// makeReady does what a node would: every pod of the namespace becomes running and ready.
func makeReady(t *testing.T, c kubernetes.Interface, namespace string) {
	t.Helper()
	pods, err := c.CoreV1().Pods(namespace).List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range pods.Items {
		pod := &pods.Items[i]
		if pod.Status.Phase == corev1.PodRunning || pod.DeletionTimestamp != nil {
			continue
		}
		ip := fmt.Sprintf("10.244.9.%d", i+1)
		patch := fmt.Sprintf(`{"status":{"phase":"Running","podIP":%q,"podIPs":[{"ip":%q}],"conditions":[{"type":"Ready","status":"True","lastTransitionTime":%q}]}}`, ip, ip, time.Now().UTC().Format(time.RFC3339))
		_, err := c.CoreV1().Pods(namespace).Patch(t.Context(), pod.Name, types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{}, "status")
		if err != nil && !apierrors.IsNotFound(err) {
			t.Fatal(err)
		}
	}
}

func TestControllers(t *testing.T) {
	api, c := start(t)
	ctx := t.Context()

	t.Run("a deployment rolls out, over and back", func(t *testing.T) {
		newNamespace(t, c, "roll")
		d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "web"}, Spec: appsv1.DeploymentSpec{
			Replicas: ptr.To[int32](4), Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}}, Template: template("nginx:1"),
		}}
		if _, err := c.AppsV1().Deployments("roll").Create(ctx, d, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		complete := func(image, revision string) {
			t.Helper()
			within(t, soon, func() error {
				makeReady(t, c, "roll")
				d, err := c.AppsV1().Deployments("roll").Get(ctx, "web", metav1.GetOptions{})
				if err != nil {
					return err
				}
				s := d.Status
				if s.UpdatedReplicas != 4 || s.Replicas != 4 || s.AvailableReplicas != 4 || s.ObservedGeneration != d.Generation || d.Annotations["deployment.kubernetes.io/revision"] != revision {
					return fmt.Errorf("revision %s, status %+v", d.Annotations["deployment.kubernetes.io/revision"], s)
				}
				for _, condition := range s.Conditions {
					if condition.Type == appsv1.DeploymentProgressing && condition.Reason != "NewReplicaSetAvailable" {
						return fmt.Errorf("%+v", condition)
					}
				}
				pods, err := c.CoreV1().Pods("roll").List(ctx, metav1.ListOptions{})
				if err != nil {
					return err
				}
				for _, pod := range pods.Items {
					if pod.Spec.Containers[0].Image != image || !strings.HasPrefix(pod.Name, "web-"+pod.Labels["pod-template-hash"]+"-") {
						return fmt.Errorf("pod %s runs %s", pod.Name, pod.Spec.Containers[0].Image)
					}
				}
				return nil
			})
		}
		setImage := func(image string) {
			t.Helper()
			patch := fmt.Sprintf(`{"spec":{"template":{"spec":{"containers":[{"name":"c","image":%q}]}}}}`, image)
			if _, err := c.AppsV1().Deployments("roll").Patch(ctx, "web", types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		complete("nginx:1", "1")
		setImage("nginx:2")
		complete("nginx:2", "2")
		setImage("nginx:1")
		complete("nginx:1", "3")
		sets, err := c.AppsV1().ReplicaSets("roll").List(ctx, metav1.ListOptions{})
		if err != nil || len(sets.Items) != 2 {
			t.Fatalf("%d replica sets, want 2: a template that comes back takes its old set (%v)", len(sets.Items), err)
		}
		for _, set := range sets.Items {
			if set.Spec.Template.Spec.Containers[0].Image == "nginx:1" && set.Annotations["deployment.kubernetes.io/revision-history"] != "1" {
				t.Errorf("history %q, want 1", set.Annotations["deployment.kubernetes.io/revision-history"])
			}
		}
	})

	t.Run("endpoints made by hand outlive all but their own service", func(t *testing.T) {
		endpoints := &corev1.Endpoints{ObjectMeta: metav1.ObjectMeta{Name: "outside"}, Subsets: []corev1.EndpointSubset{{
			Addresses: []corev1.EndpointAddress{{IP: "10.9.8.7"}}, Ports: []corev1.EndpointPort{{Port: 80}},
		}}}
		if _, err := c.CoreV1().Endpoints("roll").Create(ctx, endpoints, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		exists := func(name string, want bool) func() error {
			return func() error {
				if _, err := c.CoreV1().Endpoints("roll").Get(ctx, name, metav1.GetOptions{}); apierrors.IsNotFound(err) == want || err != nil && !apierrors.IsNotFound(err) {
					return fmt.Errorf("endpoints %s: %v", name, err)
				}
				return nil
			}
		}
		// When a Service made later has got its Endpoints and lost them again, the controller has seen those made by hand.
		later := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "later"}, Spec: corev1.ServiceSpec{
			Selector: map[string]string{"app": "web"}, Ports: []corev1.ServicePort{{Port: 80}},
		}}
		if _, err := c.CoreV1().Services("roll").Create(ctx, later, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		within(t, soon, exists("later", true))
		if err := c.CoreV1().Services("roll").Delete(ctx, "later", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		within(t, soon, exists("later", false))
		if err := exists("outside", true)(); err != nil {
			t.Fatal(err)
		}
		own := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "outside"}, Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}}}
		if _, err := c.CoreV1().Services("roll").Create(ctx, own, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		if err := c.CoreV1().Services("roll").Delete(ctx, "outside", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		within(t, soon, exists("outside", false))
	})

	t.Run("a service finds its pods", func(t *testing.T) {
		service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "web"}, Spec: corev1.ServiceSpec{
			Selector: map[string]string{"app": "web"}, Ports: []corev1.ServicePort{{Port: 80, TargetPort: intstr.FromString("http")}},
		}}
		if _, err := c.CoreV1().Services("roll").Create(ctx, service, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		within(t, soon, func() error {
			list, err := c.DiscoveryV1().EndpointSlices("roll").List(ctx, metav1.ListOptions{LabelSelector: discoveryv1.LabelServiceName + "=web"})
			if err != nil {
				return err
			}
			if len(list.Items) != 1 || len(list.Items[0].Endpoints) != 4 || *list.Items[0].Ports[0].Port != 8080 || !*list.Items[0].Endpoints[0].Conditions.Ready {
				return fmt.Errorf("slices %+v", list.Items)
			}
			endpoints, err := c.CoreV1().Endpoints("roll").Get(ctx, "web", metav1.GetOptions{})
			if err != nil {
				return err
			}
			if len(endpoints.Subsets) != 1 || len(endpoints.Subsets[0].Addresses) != 4 || endpoints.Subsets[0].Ports[0].Port != 8080 {
				return fmt.Errorf("endpoints %+v", endpoints.Subsets)
			}
			return nil
		})
	})

	t.Run("a class of volume attributes stays until no claim names it", func(t *testing.T) {
		class := &storagev1.VolumeAttributesClass{ObjectMeta: metav1.ObjectMeta{Name: "quick"}, DriverName: "csi.example.com", Parameters: map[string]string{"iops": "9"}}
		classes, claims := c.StorageV1().VolumeAttributesClasses(), c.CoreV1().PersistentVolumeClaims("roll")
		if _, err := classes.Create(ctx, class, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		claim := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: "data"}, Spec: corev1.PersistentVolumeClaimSpec{
			AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}, VolumeAttributesClassName: ptr.To("quick"),
			Resources: corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}},
		}}
		if _, err := claims.Create(ctx, claim, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		// Another class goes at once, which shows that the controller has looked at what was deleted before it.
		other := class.DeepCopy()
		other.Name = "unused"
		if _, err := classes.Create(ctx, other, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"quick", "unused"} {
			if err := classes.Delete(ctx, name, metav1.DeleteOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		gone := func(name string) func() error {
			return func() error {
				if _, err := classes.Get(ctx, name, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
					return fmt.Errorf("class %s: %v", name, err)
				}
				return nil
			}
		}
		within(t, soon, gone("unused"))
		if gone("quick")() == nil {
			t.Fatal("the class went while a claim named it")
		}
		if err := claims.Delete(ctx, "data", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		within(t, soon, gone("quick"))
	})

	t.Run("a quota is exact while many create at once", func(t *testing.T) {
		if _, err := c.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "narrow"}}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		quotas, pods := c.CoreV1().ResourceQuotas("narrow"), c.CoreV1().Pods("narrow")
		used := func(want string) func() error {
			return func() error {
				q, err := quotas.Get(ctx, "pods", metav1.GetOptions{})
				if err != nil {
					return err
				}
				if got, ok := q.Status.Used[corev1.ResourcePods]; !ok || got.String() != want {
					return fmt.Errorf("used %v, want %s", q.Status.Used, want)
				}
				return nil
			}
		}
		q := &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Name: "pods"}, Spec: corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{corev1.ResourcePods: resource.MustParse("10")}}}
		if _, err := quotas.Create(ctx, q, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		within(t, soon, used("0"))
		create := func(n int) (created []string) {
			var mu sync.Mutex
			var wg sync.WaitGroup
			for range n {
				wg.Go(func() {
					pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{GenerateName: "p-"}, Spec: template("nginx:1").Spec}
					made, err := pods.Create(ctx, pod, metav1.CreateOptions{})
					mu.Lock()
					defer mu.Unlock()
					if err == nil {
						created = append(created, made.Name)
					} else if !apierrors.IsForbidden(err) {
						t.Error(err)
					}
				})
			}
			wg.Wait()
			return created
		}
		first := create(40)
		if len(first) != 10 {
			t.Fatalf("%d pods were created under a quota of 10", len(first))
		}
		for _, name := range first[:4] {
			if err := pods.Delete(ctx, name, metav1.DeleteOptions{GracePeriodSeconds: ptr.To[int64](0)}); err != nil {
				t.Fatal(err)
			}
		}
		within(t, soon, used("6"))
		if second := create(12); len(second) != 4 {
			t.Errorf("%d pods were created where 4 had gone", len(second))
		}
	})

	t.Run("a migration has objects written anew and says so", func(t *testing.T) {
		migrations := c.StoragemigrationV1().StorageVersionMigrations()
		for name, resource := range map[string]string{"maps": "configmaps", "nothing": "nosuch"} {
			m := &migrationv1.StorageVersionMigration{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: migrationv1.StorageVersionMigrationSpec{
				Resource: metav1.GroupResource{Resource: resource},
			}}
			if _, err := migrations.Create(ctx, m, metav1.CreateOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		within(t, soon, func() error {
			m, err := migrations.Get(ctx, "maps", metav1.GetOptions{})
			if err != nil {
				return err
			}
			if !meta.IsStatusConditionTrue(m.Status.Conditions, string(migrationv1.MigrationSucceeded)) {
				return fmt.Errorf("conditions %+v", m.Status.Conditions)
			}
			return nil
		})
		m, err := migrations.Get(ctx, "nothing", metav1.GetOptions{})
		if err != nil || len(m.Status.Conditions) > 0 {
			t.Errorf("of a resource that is not there (yet): %+v %v", m, err)
		}
	})

	t.Run("deleting a deployment takes sets and pods with it", func(t *testing.T) {
		if err := c.AppsV1().Deployments("roll").Delete(ctx, "web", metav1.DeleteOptions{PropagationPolicy: ptr.To(metav1.DeletePropagationForeground), GracePeriodSeconds: ptr.To[int64](0)}); err != nil {
			t.Fatal(err)
		}
		within(t, soon, func() error {
			sets, err := c.AppsV1().ReplicaSets("roll").List(ctx, metav1.ListOptions{})
			if err != nil {
				return err
			}
			pods, err := c.CoreV1().Pods("roll").List(ctx, metav1.ListOptions{})
			if err != nil {
				return err
			}
			_, err = c.AppsV1().Deployments("roll").Get(ctx, "web", metav1.GetOptions{})
			if len(sets.Items)+len(pods.Items) > 0 || !apierrors.IsNotFound(err) {
				return fmt.Errorf("%d sets and %d pods are left; deployment: %v", len(sets.Items), len(pods.Items), err)
			}
			return nil
		})
	})

	t.Run("orphans stay, and are adopted", func(t *testing.T) {
		newNamespace(t, c, "orphan")
		set := &appsv1.ReplicaSet{ObjectMeta: metav1.ObjectMeta{Name: "web"}, Spec: appsv1.ReplicaSetSpec{
			Replicas: ptr.To[int32](3), Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}}, Template: template("nginx:1"),
		}}
		names := func() (names []string, owner types.UID) {
			pods, err := c.CoreV1().Pods("orphan").List(ctx, metav1.ListOptions{})
			if err != nil {
				t.Fatal(err)
			}
			for _, pod := range pods.Items {
				names = append(names, pod.Name)
				if ref := metav1.GetControllerOf(&pod); ref != nil {
					owner = ref.UID
				}
			}
			slices.Sort(names)
			return names, owner
		}
		create := func() *appsv1.ReplicaSet {
			created, err := c.AppsV1().ReplicaSets("orphan").Create(ctx, set, metav1.CreateOptions{})
			if err != nil {
				t.Fatal(err)
			}
			within(t, soon, func() error {
				if names, owner := names(); len(names) != 3 || owner != created.UID {
					return fmt.Errorf("pods %v of %s", names, owner)
				}
				return nil
			})
			return created
		}
		create()
		before, _ := names()
		if err := c.AppsV1().ReplicaSets("orphan").Delete(ctx, "web", metav1.DeleteOptions{PropagationPolicy: ptr.To(metav1.DeletePropagationOrphan)}); err != nil {
			t.Fatal(err)
		}
		within(t, soon, func() error {
			if _, err := c.AppsV1().ReplicaSets("orphan").Get(ctx, "web", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
				return fmt.Errorf("still there: %v", err)
			}
			return nil
		})
		if after, owner := names(); !slices.Equal(before, after) || owner != "" {
			t.Fatalf("pods %v of %q after orphaning %v", after, owner, before)
		}
		create()
		if after, _ := names(); !slices.Equal(before, after) {
			t.Errorf("pods %v instead of the adopted %v", after, before)
		}
	})

	t.Run("an object whose owner never was goes", func(t *testing.T) {
		m := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "lost", OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "Secret", Name: "nobody", UID: "0"}}}}
		if _, err := c.CoreV1().ConfigMaps("orphan").Create(ctx, m, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		within(t, soon, func() error {
			if _, err := c.CoreV1().ConfigMaps("orphan").Get(ctx, "lost", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
				return fmt.Errorf("still there: %v", err)
			}
			return nil
		})
	})

	t.Run("a namespace goes, pods first", func(t *testing.T) {
		newNamespace(t, c, "gone")
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "held", Finalizers: []string{"example.com/hold"}}, Spec: template("x").Spec}
		if _, err := c.CoreV1().Pods("gone").Create(ctx, pod, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		if _, err := c.CoreV1().ConfigMaps("gone").Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "needed"}}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		if err := c.CoreV1().Namespaces().Delete(ctx, "gone", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		within(t, soon, func() error {
			ns, err := c.CoreV1().Namespaces().Get(ctx, "gone", metav1.GetOptions{})
			if err != nil {
				return err
			}
			for _, condition := range ns.Status.Conditions {
				if condition.Type == corev1.NamespaceDeletionContentFailure {
					return nil
				}
			}
			return fmt.Errorf("conditions %+v", ns.Status.Conditions)
		})
		if _, err := c.CoreV1().ConfigMaps("gone").Get(ctx, "needed", metav1.GetOptions{}); err != nil {
			t.Errorf("the config map went before the pod: %v", err)
		}
		if _, err := c.CoreV1().Pods("gone").Patch(ctx, "held", types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
		within(t, soon, func() error {
			if _, err := c.CoreV1().Namespaces().Get(ctx, "gone", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
				return fmt.Errorf("still there: %v", err)
			}
			return nil
		})
	})

	t.Run("a silent node is noticed and its pods go", func(t *testing.T) {
		newNamespace(t, c, "nodes")
		ready := func(name string) {
			now := time.Now().UTC().Format(time.RFC3339)
			patch := fmt.Sprintf(`{"status":{"conditions":[{"type":"Ready","status":"True","lastHeartbeatTime":%q,"lastTransitionTime":%q}]}}`, now, now)
			if _, err := c.CoreV1().Nodes().Patch(ctx, name, types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{}, "status"); err != nil {
				t.Error(err)
			}
		}
		for _, name := range []string{"alive", "silent"} {
			if _, err := c.CoreV1().Nodes().Create(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{}); err != nil {
				t.Fatal(err)
			}
			ready(name)
		}
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p"}, Spec: template("x").Spec}
		pod.Spec.NodeName = "silent"
		pod.Spec.TerminationGracePeriodSeconds = ptr.To[int64](0)
		pod.Spec.Tolerations = []corev1.Toleration{{Key: corev1.TaintNodeUnreachable, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute, TolerationSeconds: ptr.To[int64](1)}}
		if _, err := c.CoreV1().Pods("nodes").Create(ctx, pod, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		var ranges []string
		within(t, soon, func() error {
			ready("alive")
			ranges = nil
			list, err := c.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
			if err != nil {
				return err
			}
			for _, node := range list.Items {
				ranges = append(ranges, node.Spec.PodCIDR)
				if node.Name == "silent" && !slices.ContainsFunc(node.Spec.Taints, func(taint corev1.Taint) bool {
					return taint.Key == corev1.TaintNodeUnreachable && taint.Effect == corev1.TaintEffectNoExecute
				}) {
					return fmt.Errorf("taints %+v", node.Spec.Taints)
				}
			}
			return nil
		})
		if slices.Sort(ranges); !slices.Equal(ranges, []string{"10.244.0.0/24", "10.244.1.0/24"}) {
			t.Errorf("ranges %v", ranges)
		}
		within(t, soon, func() error {
			ready("alive")
			if _, err := c.CoreV1().Pods("nodes").Get(ctx, "p", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
				return fmt.Errorf("the pod is still there: %v", err)
			}
			return nil
		})
	})

	t.Run("a joining node gets its certificate", func(t *testing.T) {
		key, err := certs.NewKey()
		if err != nil {
			t.Fatal(err)
		}
		request, err := certs.NewRequest(key, certs.Leaf{CommonName: "system:node:new", Organization: []string{"system:nodes"}})
		if err != nil {
			t.Fatal(err)
		}
		csr := &certificatesv1.CertificateSigningRequest{ObjectMeta: metav1.ObjectMeta{Name: "new"}, Spec: certificatesv1.CertificateSigningRequestSpec{
			Request: request, SignerName: certificatesv1.KubeAPIServerClientKubeletSignerName,
			Usages: []certificatesv1.KeyUsage{certificatesv1.UsageDigitalSignature, certificatesv1.UsageClientAuth},
		}}
		if _, err := c.CertificatesV1().CertificateSigningRequests().Create(ctx, csr, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		within(t, soon, func() error {
			got, err := c.CertificatesV1().CertificateSigningRequests().Get(ctx, "new", metav1.GetOptions{})
			if err != nil {
				return err
			}
			if len(got.Status.Certificate) == 0 {
				return fmt.Errorf("conditions %+v", got.Status.Conditions)
			}
			return nil
		})
	})

	t.Run("roles are summed up", func(t *testing.T) {
		sum := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "sum"}, AggregationRule: &rbacv1.AggregationRule{
			ClusterRoleSelectors: []metav1.LabelSelector{{MatchLabels: map[string]string{"part": "true"}}},
		}}
		part := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "part", Labels: map[string]string{"part": "true"}}, Rules: []rbacv1.PolicyRule{{Verbs: []string{"get"}, APIGroups: []string{""}, Resources: []string{"pods"}}}}
		for _, role := range []*rbacv1.ClusterRole{sum, part} {
			if _, err := c.RbacV1().ClusterRoles().Create(ctx, role, metav1.CreateOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		within(t, soon, func() error {
			got, err := c.RbacV1().ClusterRoles().Get(ctx, "sum", metav1.GetOptions{})
			if err != nil {
				return err
			}
			if len(got.Rules) != 1 {
				return fmt.Errorf("rules %+v", got.Rules)
			}
			return nil
		})
	})
	_ = api
}

func TestSelected(t *testing.T) {
	list := []entry{{name: "a"}, {name: "b"}}
	tests := []struct {
		name  string
		flags []string
		want  []string
		bad   bool
	}{
		{name: "a star is all", flags: []string{"*"}, want: []string{"a", "b"}},
		{name: "all but one", flags: []string{"*", "-a"}, want: []string{"b"}},
		{name: "one only", flags: []string{"a"}, want: []string{"a"}},
		{name: "an unknown name is refused", flags: []string{"c"}, bad: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := selected(tt.flags, list)
			if (err != nil) != tt.bad {
				t.Fatalf("error %v", err)
			}
			for _, e := range list {
				if got[e.name] != slices.Contains(tt.want, e.name) {
					t.Errorf("%s: %v", e.name, got[e.name])
				}
			}
		})
	}
}
