// Package autoscaling holds the row of HorizontalPodAutoscalers, which are served in two versions.
package autoscaling
