package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/skiff-project/skiff/e2e/bench/raw"
	"github.com/skiff-project/skiff/e2e/lab"
)

// controllers measures how fast controllers make, replace and remove objects; nothing schedules or runs the pods.
func (b *bench) controllers(ctx context.Context) error {
	const deployments, replicas = 50, 40
	const jobs, parallel = 100, 10
	l, err := b.start(ctx, lab.Parts{API: b.side, Controllers: b.side})
	if err != nil {
		return err
	}
	defer b.stop(l)
	load, err := newLoad(ctx, l)
	if err != nil {
		return err
	}
	defer load.close()
	if err := load.post(ctx, "/api/v1/namespaces", []byte(`{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"bench"}}`)); err != nil {
		return err
	}
	err = l.Await(ctx, time.Minute, func(ctx context.Context) (bool, string) {
		if _, err := load.get(ctx, "/api/v1/namespaces/bench/serviceaccounts/default", jsonType); err != nil {
			return false, err.Error()
		}
		return true, ""
	})
	if err != nil {
		return fmt.Errorf("no service account: %w", err)
	}
	// timed waits for so many new pods after do has asked for them.
	timed := func(what string, pods int, do func() error) error {
		revision, err := load.revision(ctx, podsPath)
		if err != nil {
			return err
		}
		made := load.count(ctx, podsPath, revision, added, pods)
		var took time.Duration
		cpu, err := used(l, lab.Controllers, func() error {
			start := time.Now()
			if err := do(); err != nil {
				return err
			}
			err := made.wait(ctx)
			took = time.Since(start)
			return err
		})
		if err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		b.report(what, "pods/s", more, float64(pods)/took.Seconds())
		b.report(what+": processor time of the controllers", "us a pod", less, float64(cpu.Microseconds())/float64(pods))
		return nil
	}
	err = timed("50 Deployments of 40 replicas: pods made", deployments*replicas, func() error {
		return load.createAll(ctx, "/apis/apps/v1/namespaces/bench/deployments", deployments, func(i int) any { return deployment(i, replicas) })
	})
	if err != nil {
		return err
	}
	err = timed("roll all of them out anew (Recreate): pods replaced", deployments*replicas, func() error {
		_, err := spread(ctx, deployments, writers, func(ctx context.Context, i int) error {
			return load.patch(ctx, fmt.Sprintf("/apis/apps/v1/namespaces/bench/deployments/web-%d", i), mergeType,
				[]byte(`{"spec":{"template":{"metadata":{"annotations":{"example.com/version":"2"}}}}}`))
		})
		return err
	})
	if err != nil {
		return err
	}
	err = timed("100 Jobs of 10 pods: pods made", jobs*parallel, func() error {
		return load.createAll(ctx, "/apis/batch/v1/namespaces/bench/jobs", jobs, func(i int) any { return job(i, parallel) })
	})
	if err != nil {
		return err
	}
	if err := load.createAll(ctx, "/api/v1/namespaces/bench/configmaps", 500, func(i int) any {
		return &corev1.ConfigMap{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"}, ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("c-%d", i)}}
	}); err != nil {
		return err
	}
	start := time.Now()
	if _, err := load.conn().Do(ctx, raw.Request{Method: http.MethodDelete, Path: "/api/v1/namespaces/bench", Accept: jsonType}, nil); err != nil {
		return err
	}
	err = l.Await(ctx, 3*time.Minute, func(ctx context.Context) (bool, string) {
		_, err := load.get(ctx, "/api/v1/namespaces/bench", jsonType)
		var answer *raw.Error
		return errors.As(err, &answer) && answer.Status == http.StatusNotFound, fmt.Sprintf("the namespace is still there (%v)", err)
	})
	if err != nil {
		return err
	}
	b.report("delete that namespace, of 3,000 pods and 750 other objects", "s", less, time.Since(start).Seconds())
	return nil
}

func (l *load) createAll(ctx context.Context, path string, n int, object func(i int) any) error {
	made, err := bodies(n, object)
	if err != nil {
		return err
	}
	_, err = spread(ctx, n, writers, func(ctx context.Context, i int) error { return l.post(ctx, path, made[i]) })
	return err
}

func template(app string) corev1.PodTemplateSpec {
	return corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": app}},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: "registry.example.com/web:v1"}}}}
}

func deployment(i, replicas int) *appsv1.Deployment {
	name := fmt.Sprintf("web-%d", i)
	t := template(name)
	return &appsv1.Deployment{
		TypeMeta: metav1.TypeMeta{APIVersion: "apps/v1", Kind: "Deployment"}, ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: appsv1.DeploymentSpec{Replicas: ptr.To(int32(replicas)), Selector: &metav1.LabelSelector{MatchLabels: t.Labels}, Template: t,
			Strategy: appsv1.DeploymentStrategy{Type: appsv1.RecreateDeploymentStrategyType}},
	}
}

func job(i, parallel int) *batchv1.Job {
	t := template("job")
	t.Spec.RestartPolicy = corev1.RestartPolicyNever
	return &batchv1.Job{
		TypeMeta: metav1.TypeMeta{APIVersion: "batch/v1", Kind: "Job"}, ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("job-%d", i)},
		Spec: batchv1.JobSpec{Parallelism: ptr.To(int32(parallel)), Completions: ptr.To(int32(parallel)), Template: t},
	}
}
