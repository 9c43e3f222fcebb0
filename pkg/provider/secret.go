package provider

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	corev1 "k8s.io/client-go/kubernetes/typed/core/v1"
)

// The Secret with the key by which announcers know each other.
const (
	secretName = "memberlist"
	secretKey  = "secretkey"
)

// createSecret creates the announcers' key unless there is one. It never reads
// or changes one that is there, and needs no right to do so.
func createSecret(ctx context.Context, client corev1.SecretsGetter, namespace string) error {
	var key [32]byte
	rand.Read(key[:]) // never fails
	_, err := client.Secrets(namespace).Create(ctx, &v1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: secretName},
		StringData: map[string]string{secretKey: base64.StdEncoding.EncodeToString(key[:])},
	}, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("secret %s/%s: %w", namespace, secretName, err)
	}
	return nil
}
