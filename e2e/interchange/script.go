package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"github.com/skiff-project/skiff/e2e/lab"
)

// image is what all of the script's pods run.
const image = "docker.io/library/busybox:1.36"

// script starts a cluster of the parts and does in it what users do, again and again while time is left.
func (r *run) script(ctx context.Context, parts lab.Parts) error {
	l, err := r.start(ctx, lab.Config{Parts: parts})
	if err != nil {
		return err
	}
	defer r.stop(l)
	if err := r.ready(ctx, l, parts); err != nil {
		return err
	}
	before, end := l.Restarts(), time.Now().Add(r.during)
	for round := 0; round == 0 || time.Now().Before(end); round++ {
		s := &scene{Lab: l, namespace: fmt.Sprintf("round-%d", round)}
		for _, step := range steps {
			start := time.Now()
			if err := step.do(s, ctx); err != nil {
				return fmt.Errorf("round %d: %s: %w", round, step.name, err)
			}
			r.say("%5.1f s  %s", time.Since(start).Seconds(), step.name)
		}
	}
	if bad := l.Failing(before); len(bad) > 0 {
		return fmt.Errorf("did not stay up: %s", strings.Join(bad, "; "))
	}
	return r.judge(collect(l, parts))
}

func (r *run) ready(ctx context.Context, l *lab.Lab, parts lab.Parts) error {
	loaded := make(chan error, 1)
	go func() {
		if parts.Agent != lab.Upstream {
			loaded <- nil
			return
		}
		loaded <- l.LoadImages(ctx)
	}()
	err := l.CreateDNS(ctx)
	if err == nil {
		err = l.NodeReady(ctx)
	}
	if err = errors.Join(err, <-loaded); err != nil {
		return err
	}
	if err := l.DNSReady(ctx); err != nil {
		return fmt.Errorf("cluster DNS: %w", err)
	}
	return nil
}

// judge compares the error lines with the baseline's, or makes them the baseline.
func (r *run) judge(lines *errorLines) error {
	if r.name == "baseline" {
		r.baseline = lines
		r.note("upstream's components log error lines of %d causes among themselves", len(lines.causes))
		return nil
	}
	if r.baseline == nil {
		r.note("without the cell \"baseline\" there is nothing to hold error lines against")
		return nil
	}
	acting, others := lines.beyond(r.baseline)
	if len(others) > 0 {
		// Of what serves and runs pods much depends on the moment at which a connection or a container goes.
		r.note("%d error lines of upstream's other components that are not in the baseline, such as %s", len(others), others[0])
	}
	if len(acting) > 0 {
		return fmt.Errorf("error lines that a cluster of upstream alone does not have:\n      %s", strings.Join(acting, "\n      "))
	}
	return nil
}

// scene is one round of the script: a cluster and a namespace.
type scene struct {
	*lab.Lab
	namespace string
	service   *corev1.Service
}

type step struct {
	name string
	do   func(s *scene, ctx context.Context) error
}

// steps build on each other.
var steps = []step{
	{"a namespace gets its service account and root certificate", (*scene).createNamespace},
	{"a Deployment of 3 rolls out", (*scene).deploy},
	{"its Service leads to all 3, by address and by name", (*scene).serve},
	{"a new version rolls out", (*scene).rollOut},
	{"logs and exec reach a pod", (*scene).reach},
	{"ConfigMap, Secret and downward volumes are in a pod", (*scene).volumes},
	{"a Job completes", (*scene).job},
	{"a quota holds and is raised", (*scene).quota},
	{"a StatefulSet grows and shrinks in order", (*scene).statefulSet},
	{"a DaemonSet is on the node", (*scene).daemonSet},
	{"a pod that fits nowhere waits, and says why", (*scene).unschedulable},
	{"a Deployment's pods go with it", (*scene).collect},
	{"the namespace goes with all that is in it", (*scene).deleteNamespace},
}

const patience = time.Minute

func (s *scene) createNamespace(ctx context.Context) error {
	_, err := s.Client.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: s.namespace}}, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	return s.Await(ctx, patience, func(ctx context.Context) (bool, string) {
		if _, err := s.Client.CoreV1().ServiceAccounts(s.namespace).Get(ctx, "default", metav1.GetOptions{}); err != nil {
			return false, err.Error()
		}
		_, err := s.Client.CoreV1().ConfigMaps(s.namespace).Get(ctx, "kube-root-ca.crt", metav1.GetOptions{})
		return err == nil, fmt.Sprint(err)
	})
}

// template is a web server that answers with its version.
func template(app, version string) corev1.PodTemplateSpec {
	return corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": app}},
		Spec: corev1.PodSpec{TerminationGracePeriodSeconds: ptr.To(int64(1)), Containers: []corev1.Container{{
			Name: "main", Image: image,
			Command: []string{"sh", "-c", "echo serving " + version + "; mkdir /www; echo " + version + " >/www/index.html; exec httpd -f -p 8080 -h /www"},
			Ports:   []corev1.ContainerPort{{Name: "http", ContainerPort: 8080}},
			ReadinessProbe: &corev1.Probe{PeriodSeconds: 1, ProbeHandler: corev1.ProbeHandler{
				HTTPGet: &corev1.HTTPGetAction{Path: "/", Port: intstr.FromString("http")},
			}},
			Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("5m")}},
		}}},
	}
}

func (s *scene) deploy(ctx context.Context) error {
	t := template("web", "v1")
	_, err := s.Client.AppsV1().Deployments(s.namespace).Create(ctx, &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "web"},
		Spec:       appsv1.DeploymentSpec{Replicas: ptr.To(int32(3)), Selector: &metav1.LabelSelector{MatchLabels: t.Labels}, Template: t},
	}, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	return s.rolledOut(ctx, 1)
}

// rolledOut waits until the Deployment says what `kubectl rollout status` waits for.
func (s *scene) rolledOut(ctx context.Context, revision int) error {
	return s.Await(ctx, patience, func(ctx context.Context) (bool, string) {
		d, err := s.Client.AppsV1().Deployments(s.namespace).Get(ctx, "web", metav1.GetOptions{})
		if err != nil {
			return false, err.Error()
		}
		if d.Annotations["deployment.kubernetes.io/revision"] != fmt.Sprint(revision) {
			return false, fmt.Sprintf("revision is %q", d.Annotations["deployment.kubernetes.io/revision"])
		}
		st := d.Status
		done := st.ObservedGeneration >= d.Generation && st.UpdatedReplicas == 3 && st.Replicas == 3 && st.AvailableReplicas == 3
		return done, fmt.Sprintf("%d updated, %d available of %d", st.UpdatedReplicas, st.AvailableReplicas, st.Replicas)
	})
}

func (s *scene) serve(ctx context.Context) error {
	var err error
	s.service, err = s.Client.CoreV1().Services(s.namespace).Create(ctx, &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "web"},
		Spec: corev1.ServiceSpec{Selector: map[string]string{"app": "web"}, Type: corev1.ServiceTypeNodePort,
			Ports: []corev1.ServicePort{{Port: 80, TargetPort: intstr.FromString("http")}}},
	}, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	err = s.Await(ctx, patience, func(ctx context.Context) (bool, string) {
		slices, err := s.Client.DiscoveryV1().EndpointSlices(s.namespace).List(ctx, metav1.ListOptions{LabelSelector: "kubernetes.io/service-name=web"})
		if err != nil {
			return false, err.Error()
		}
		ready := 0
		for _, slice := range slices.Items {
			for _, e := range slice.Endpoints {
				if ptr.Deref(e.Conditions.Ready, false) {
					ready += len(e.Addresses)
				}
			}
		}
		return ready == 3, fmt.Sprintf("%d addresses are ready", ready)
	})
	if err != nil {
		return err
	}
	for _, address := range []string{
		net.JoinHostPort(s.service.Spec.ClusterIP, "80"),
		net.JoinHostPort(s.Machine.Address().String(), fmt.Sprint(s.service.Spec.Ports[0].NodePort)),
	} {
		if err := s.answers(ctx, address, "v1"); err != nil {
			return err
		}
	}
	// By name, from a pod: the question itself takes the way through a Service, that of the cluster's DNS.
	ask := fmt.Sprintf("for i in $(seq 40); do /tool lookup web.%s.svc.cluster.local | grep -F %q && exit; sleep 0.5; done; exit 1", s.namespace, s.service.Spec.ClusterIP)
	return s.runs(ctx, "by-name", ask, func(p *corev1.PodSpec) { p.Containers[0].Image = "ghcr.io/skiff-project/tool:v1" })
}

// answers waits for a web server that says want.
func (s *scene) answers(ctx context.Context, address, want string) error {
	client := http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{DialContext: s.Dial, DisableKeepAlives: true}}
	return s.Await(ctx, patience, func(ctx context.Context) (bool, string) {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/", nil)
		if err != nil {
			return false, err.Error()
		}
		resp, err := client.Do(req)
		if err != nil {
			return false, err.Error()
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(io.LimitReader(resp.Body, 1000))
		return err == nil && strings.TrimSpace(string(body)) == want, fmt.Sprintf("%s answers %q (%v)", address, body, err)
	})
}

// runs runs a shell command in a pod of its own and waits until it has succeeded.
func (s *scene) runs(ctx context.Context, name, command string, change ...func(*corev1.PodSpec)) error {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.PodSpec{
		RestartPolicy: corev1.RestartPolicyNever, TerminationGracePeriodSeconds: ptr.To(int64(1)),
		Containers: []corev1.Container{{Name: "main", Image: image, Command: []string{"sh", "-c", command}}},
	}}
	for _, c := range change {
		c(&pod.Spec)
	}
	pods := s.Client.CoreV1().Pods(s.namespace)
	if _, err := pods.Create(ctx, pod, metav1.CreateOptions{}); err != nil {
		return err
	}
	failed := false
	err := s.Await(ctx, patience, func(ctx context.Context) (bool, string) {
		p, err := pods.Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return false, err.Error()
		}
		failed = p.Status.Phase == corev1.PodFailed
		return failed || p.Status.Phase == corev1.PodSucceeded, fmt.Sprintf("pod %s is %s: %s", name, p.Status.Phase, states(p))
	})
	if failed {
		text, err := pods.GetLogs(name, &corev1.PodLogOptions{}).DoRaw(ctx)
		return fmt.Errorf("%q failed: %s (%v)", command, text, err)
	}
	return err
}

// states says how a pod's containers are.
func states(p *corev1.Pod) string {
	var list []string
	for _, c := range p.Status.ContainerStatuses {
		text := c.Name + " restarted " + fmt.Sprint(c.RestartCount) + " times"
		switch {
		case c.State.Waiting != nil:
			text += ", waits: " + c.State.Waiting.Reason + " " + c.State.Waiting.Message
		case c.State.Terminated != nil:
			text += fmt.Sprintf(", ended with %d: %s %s", c.State.Terminated.ExitCode, c.State.Terminated.Reason, c.State.Terminated.Message)
		}
		list = append(list, text)
	}
	return strings.Join(list, "; ")
}

func (s *scene) rollOut(ctx context.Context) error {
	patch := `{"spec":{"template":{"spec":{"containers":[{"name":"main","command":["sh","-c","echo serving v2; mkdir /www; echo v2 >/www/index.html; exec httpd -f -p 8080 -h /www"]}]}}}}`
	if _, err := s.Client.AppsV1().Deployments(s.namespace).Patch(ctx, "web", types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
		return err
	}
	if err := s.rolledOut(ctx, 2); err != nil {
		return err
	}
	return s.answers(ctx, net.JoinHostPort(s.service.Spec.ClusterIP, "80"), "v2")
}

func (s *scene) reach(ctx context.Context) error {
	pods := s.Client.CoreV1().Pods(s.namespace)
	list, err := pods.List(ctx, metav1.ListOptions{LabelSelector: "app=web", FieldSelector: "status.phase=Running"})
	if err != nil {
		return err
	}
	if len(list.Items) == 0 {
		return errors.New("no pod runs")
	}
	name := list.Items[0].Name
	text, err := pods.GetLogs(name, &corev1.PodLogOptions{}).DoRaw(ctx)
	if err != nil {
		return fmt.Errorf("logs: %w", err)
	}
	if !strings.Contains(string(text), "serving v2") {
		return fmt.Errorf("logs: %q", text)
	}
	// By kubectl, on the machine: client-go's own way to a stream does not heed rest.Config.Dial, and the host has no route.
	out, err := s.Kubectl("exec", "-n", s.namespace, name, "--", "sh", "-c", "echo to and fro; exit 3")
	if err == nil || !strings.Contains(err.Error(), "exit code 3:") || !strings.Contains(out, "to and fro") {
		return fmt.Errorf("exec: %q, %v", out, err)
	}
	return nil
}

func (s *scene) volumes(ctx context.Context) error {
	meta := metav1.ObjectMeta{Name: "kept"}
	if _, err := s.Client.CoreV1().ConfigMaps(s.namespace).Create(ctx, &corev1.ConfigMap{ObjectMeta: meta, Data: map[string]string{"a": "from-config"}}, metav1.CreateOptions{}); err != nil {
		return err
	}
	if _, err := s.Client.CoreV1().Secrets(s.namespace).Create(ctx, &corev1.Secret{ObjectMeta: meta, StringData: map[string]string{"b": "from-secret"}}, metav1.CreateOptions{}); err != nil {
		return err
	}
	check := `set -e; test "$(cat /all/a)" = from-config; test "$(cat /all/b)" = from-secret; test "$(cat /all/name)" = volumes
		test "$B" = from-secret; test -s /var/run/secrets/kubernetes.io/serviceaccount/token; echo x >/scratch/x`
	return s.runs(ctx, "volumes", check, func(p *corev1.PodSpec) {
		p.Volumes = []corev1.Volume{
			{Name: "scratch", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}},
			{Name: "all", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
				{ConfigMap: &corev1.ConfigMapProjection{LocalObjectReference: corev1.LocalObjectReference{Name: "kept"}}},
				{Secret: &corev1.SecretProjection{LocalObjectReference: corev1.LocalObjectReference{Name: "kept"}}},
				{DownwardAPI: &corev1.DownwardAPIProjection{Items: []corev1.DownwardAPIVolumeFile{{Path: "name", FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.name"}}}}},
			}}}},
		}
		p.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "all", MountPath: "/all"}, {Name: "scratch", MountPath: "/scratch"}}
		p.Containers[0].Env = []corev1.EnvVar{{Name: "B", ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{
			LocalObjectReference: corev1.LocalObjectReference{Name: "kept"}, Key: "b"}}}}
	})
}

func (s *scene) job(ctx context.Context) error {
	t := corev1.PodTemplateSpec{Spec: corev1.PodSpec{RestartPolicy: corev1.RestartPolicyNever,
		Containers: []corev1.Container{{Name: "main", Image: image, Command: []string{"sh", "-c", "test -n \"$JOB_COMPLETION_INDEX\""}}}}}
	_, err := s.Client.BatchV1().Jobs(s.namespace).Create(ctx, &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Name: "job"}, Spec: batchv1.JobSpec{
		Parallelism: ptr.To(int32(2)), Completions: ptr.To(int32(4)), CompletionMode: ptr.To(batchv1.IndexedCompletion), Template: t,
	}}, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	return s.Await(ctx, patience, func(ctx context.Context) (bool, string) {
		j, err := s.Client.BatchV1().Jobs(s.namespace).Get(ctx, "job", metav1.GetOptions{})
		if err != nil {
			return false, err.Error()
		}
		for _, c := range j.Status.Conditions {
			if c.Type == batchv1.JobComplete && c.Status == corev1.ConditionTrue {
				return j.Status.Succeeded == 4 && j.Status.CompletedIndexes == "0-3", fmt.Sprintf("complete with %+v", j.Status)
			}
		}
		return false, fmt.Sprintf("%+v", j.Status)
	})
}

func (s *scene) quota(ctx context.Context) error {
	namespace := s.namespace + "-quota"
	if _, err := s.Client.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}, metav1.CreateOptions{}); err != nil {
		return err
	}
	quotas := s.Client.CoreV1().ResourceQuotas(namespace)
	_, err := quotas.Create(ctx, &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Name: "pods"},
		Spec: corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{corev1.ResourcePods: resource.MustParse("2")}}}, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	used := func(want int64) error {
		return s.Await(ctx, patience, func(ctx context.Context) (bool, string) {
			q, err := quotas.Get(ctx, "pods", metav1.GetOptions{})
			if err != nil {
				return false, err.Error()
			}
			n, ok := q.Status.Used[corev1.ResourcePods]
			return ok && n.Value() == want, fmt.Sprintf("the quota says that %s pods are used, want %d", n.String(), want)
		})
	}
	// Before its first status a quota does not hold.
	if err := used(0); err != nil {
		return err
	}
	t := template("many", "v1")
	sets := s.Client.AppsV1().ReplicaSets(namespace)
	if _, err := sets.Create(ctx, &appsv1.ReplicaSet{ObjectMeta: metav1.ObjectMeta{Name: "many"}, Spec: appsv1.ReplicaSetSpec{
		Replicas: ptr.To(int32(4)), Selector: &metav1.LabelSelector{MatchLabels: t.Labels}, Template: t}}, metav1.CreateOptions{}); err != nil {
		return err
	}
	err = s.Await(ctx, patience, func(ctx context.Context) (bool, string) {
		rs, err := sets.Get(ctx, "many", metav1.GetOptions{})
		if err != nil {
			return false, err.Error()
		}
		for _, c := range rs.Status.Conditions {
			if c.Type == appsv1.ReplicaSetReplicaFailure && strings.Contains(c.Message, "exceeded quota") {
				return rs.Status.Replicas == 2, fmt.Sprintf("%d replicas", rs.Status.Replicas)
			}
		}
		return false, fmt.Sprintf("no word of the quota: %+v", rs.Status)
	})
	if err != nil {
		return err
	}
	if err := used(2); err != nil {
		return err
	}
	if _, err := quotas.Patch(ctx, "pods", types.MergePatchType, []byte(`{"spec":{"hard":{"pods":"4"}}}`), metav1.PatchOptions{}); err != nil {
		return err
	}
	if err := used(4); err != nil {
		return err
	}
	return s.Client.CoreV1().Namespaces().Delete(ctx, namespace, metav1.DeleteOptions{})
}

func (s *scene) statefulSet(ctx context.Context) error {
	t := template("db", "v1")
	sets := s.Client.AppsV1().StatefulSets(s.namespace)
	if _, err := sets.Create(ctx, &appsv1.StatefulSet{ObjectMeta: metav1.ObjectMeta{Name: "db"}, Spec: appsv1.StatefulSetSpec{
		Replicas: ptr.To(int32(2)), ServiceName: "db", Selector: &metav1.LabelSelector{MatchLabels: t.Labels}, Template: t}}, metav1.CreateOptions{}); err != nil {
		return err
	}
	settled := func(n int32) error {
		return s.Await(ctx, patience, func(ctx context.Context) (bool, string) {
			set, err := sets.Get(ctx, "db", metav1.GetOptions{})
			if err != nil {
				return false, err.Error()
			}
			st := set.Status
			return st.ObservedGeneration >= set.Generation && st.ReadyReplicas == n && st.Replicas == n, fmt.Sprintf("%d ready of %d, want %d", st.ReadyReplicas, st.Replicas, n)
		})
	}
	if err := settled(2); err != nil {
		return err
	}
	if _, err := sets.Patch(ctx, "db", types.MergePatchType, []byte(`{"spec":{"replicas":1}}`), metav1.PatchOptions{}); err != nil {
		return err
	}
	if err := settled(1); err != nil {
		return err
	}
	_, err := s.Client.CoreV1().Pods(s.namespace).Get(ctx, "db-0", metav1.GetOptions{})
	return err
}

func (s *scene) daemonSet(ctx context.Context) error {
	t := template("everywhere", "v1")
	sets := s.Client.AppsV1().DaemonSets(s.namespace)
	if _, err := sets.Create(ctx, &appsv1.DaemonSet{ObjectMeta: metav1.ObjectMeta{Name: "everywhere"}, Spec: appsv1.DaemonSetSpec{
		Selector: &metav1.LabelSelector{MatchLabels: t.Labels}, Template: t}}, metav1.CreateOptions{}); err != nil {
		return err
	}
	return s.Await(ctx, patience, func(ctx context.Context) (bool, string) {
		set, err := sets.Get(ctx, "everywhere", metav1.GetOptions{})
		if err != nil {
			return false, err.Error()
		}
		return set.Status.NumberAvailable == 1, fmt.Sprintf("%d available", set.Status.NumberAvailable)
	})
}

func (s *scene) unschedulable(ctx context.Context) error {
	pods := s.Client.CoreV1().Pods(s.namespace)
	_, err := pods.Create(ctx, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "elsewhere"}, Spec: corev1.PodSpec{
		NodeSelector: map[string]string{"no": "where"}, Containers: []corev1.Container{{Name: "main", Image: image}}}}, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	err = s.Await(ctx, patience, func(ctx context.Context) (bool, string) {
		p, err := pods.Get(ctx, "elsewhere", metav1.GetOptions{})
		if err != nil {
			return false, err.Error()
		}
		for _, c := range p.Status.Conditions {
			if c.Type == corev1.PodScheduled && c.Reason == corev1.PodReasonUnschedulable {
				return strings.HasPrefix(c.Message, "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector"), c.Message
			}
		}
		return false, "the pod's status does not say that it fits nowhere"
	})
	if err != nil {
		return err
	}
	// Where a fitting label appears the pod goes on at once.
	label := func(text string) error {
		_, err := s.Client.CoreV1().Nodes().Patch(ctx, lab.Node, types.MergePatchType, []byte(`{"metadata":{"labels":{"no":`+text+`}}}`), metav1.PatchOptions{})
		return err
	}
	if err := label(`"where"`); err != nil {
		return err
	}
	err = s.Await(ctx, patience, func(ctx context.Context) (bool, string) {
		p, err := pods.Get(ctx, "elsewhere", metav1.GetOptions{})
		if err != nil {
			return false, err.Error()
		}
		return p.Spec.NodeName == lab.Node, "the pod still waits"
	})
	return errors.Join(err, label("null"))
}

func (s *scene) collect(ctx context.Context) error {
	policy := metav1.DeletePropagationForeground
	if err := s.Client.AppsV1().Deployments(s.namespace).Delete(ctx, "web", metav1.DeleteOptions{PropagationPolicy: &policy}); err != nil {
		return err
	}
	return s.Await(ctx, patience, func(ctx context.Context) (bool, string) {
		_, err := s.Client.AppsV1().Deployments(s.namespace).Get(ctx, "web", metav1.GetOptions{})
		if !apierrors.IsNotFound(err) {
			return false, fmt.Sprintf("the Deployment is still there (%v)", err)
		}
		pods, err := s.Client.CoreV1().Pods(s.namespace).List(ctx, metav1.ListOptions{LabelSelector: "app=web"})
		if err != nil {
			return false, err.Error()
		}
		return len(pods.Items) == 0, fmt.Sprintf("%d of its pods are still there", len(pods.Items))
	})
}

func (s *scene) deleteNamespace(ctx context.Context) error {
	if err := s.Client.CoreV1().Namespaces().Delete(ctx, s.namespace, metav1.DeleteOptions{}); err != nil {
		return err
	}
	for _, name := range []string{s.namespace, s.namespace + "-quota"} {
		if err := s.Await(ctx, patience, func(ctx context.Context) (bool, string) {
			n, err := s.Client.CoreV1().Namespaces().Get(ctx, name, metav1.GetOptions{})
			if err == nil {
				return false, fmt.Sprintf("%s is still there: %v", name, n.Status)
			}
			return apierrors.IsNotFound(err), err.Error()
		}); err != nil {
			return err
		}
	}
	return nil
}
