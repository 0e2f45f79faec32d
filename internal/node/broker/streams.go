package broker

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/dizuo/dizuo/internal/contract"
)

const (
	// reportLife is how long a report stays: an instance that died is gone from the bucket after it.
	reportLife = 10 * time.Minute
	// sessionLife is how long the server keeps the session of a client that does not come back. A connection ends after a
	// day at most and is saved again when it returns, so this deletes sessions of devices that are gone or revoked.
	sessionLife = 7 * 24 * time.Hour

	bundleBytes   = 512 << 20
	sessionBytes  = 128 << 20
	retainedBytes = 128 << 20
	bucketBytes   = 64 << 20
)

// ensureStreams creates what is missing and corrects what differs, so that a change of retention or replicas takes effect.
func ensureStreams(ctx context.Context, js jetstream.JetStream, c contract.BrokerConfig) error {
	for _, s := range mqttStreams(c) {
		if _, err := js.CreateOrUpdateStream(ctx, s); err != nil {
			return fmt.Errorf("stream %s: %w", s.Name, err)
		}
	}
	for _, b := range buckets(c) {
		if _, err := js.CreateOrUpdateKeyValue(ctx, b); err != nil {
			return fmt.Errorf("bucket %s: %w", b.Bucket, err)
		}
	}
	_, err := js.CreateOrUpdateObjectStore(ctx, jetstream.ObjectStoreConfig{Bucket: contract.BundleStore,
		Description: "Signed bundles by content", Storage: jetstream.FileStorage, Replicas: c.Replicas, MaxBytes: bundleBytes})
	if err != nil {
		return fmt.Errorf("object store %s: %w", contract.BundleStore, err)
	}
	return nil
}

// mqttStreams are the streams that the server would otherwise make for itself, the ingest log first. Subjects and messages
// per subject are what it looks for; the bounds are ours.
func mqttStreams(c contract.BrokerConfig) []jetstream.StreamConfig {
	return []jetstream.StreamConfig{
		{Name: contract.IngestStream, Description: "Ingest log: what was acknowledged", Subjects: []string{"$MQTT.msgs.>"},
			Storage: jetstream.FileStorage, Retention: jetstream.LimitsPolicy, Discard: jetstream.DiscardNew,
			MaxAge: time.Duration(c.Ingest.MaxAgeSeconds) * time.Second, MaxBytes: c.Ingest.MaxBytes, Replicas: c.Replicas},
		{Name: "$MQTT_sess", Subjects: []string{"$MQTT.sess.>"}, Storage: jetstream.FileStorage, Retention: jetstream.LimitsPolicy,
			MaxMsgsPerSubject: 1, MaxAge: sessionLife, MaxBytes: sessionBytes, Replicas: c.Replicas},
		{Name: "$MQTT_rmsgs", Subjects: []string{"$MQTT.rmsgs.>"}, Storage: jetstream.FileStorage, Retention: jetstream.LimitsPolicy,
			MaxMsgsPerSubject: 1, MaxBytes: retainedBytes, Replicas: c.Replicas},
		// QoS 2 is refused; the server wants these two all the same.
		{Name: "$MQTT_qos2in", Subjects: []string{"$MQTT.qos2.in.>"}, Storage: jetstream.FileStorage, Retention: jetstream.LimitsPolicy,
			Discard: jetstream.DiscardNew, DiscardNewPerSubject: true, MaxMsgsPerSubject: 1, MaxBytes: 1 << 20, Replicas: c.Replicas},
		{Name: "$MQTT_out", Subjects: []string{"$MQTT.out.>"}, Storage: jetstream.FileStorage, Retention: jetstream.InterestPolicy,
			MaxBytes: 1 << 20, Replicas: c.Replicas},
	}
}

func buckets(c contract.BrokerConfig) []jetstream.KeyValueConfig {
	return []jetstream.KeyValueConfig{
		{Bucket: contract.LeaseBucket, Description: "Signed leases by scope", History: 4, Storage: jetstream.FileStorage,
			Replicas: c.Replicas, MaxBytes: bucketBytes},
		{Bucket: contract.ReportBucket, Description: "Reports by role and instance", History: 1, TTL: reportLife,
			Storage: jetstream.FileStorage, Replicas: c.Replicas, MaxBytes: bucketBytes},
	}
}
