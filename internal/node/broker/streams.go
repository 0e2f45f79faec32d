package broker

import (
	"context"
	"errors"
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
	// enrolledBytes hold a million devices, each a key of up to 110 bytes.
	enrolledBytes = 256 << 20
)

// ensureStreams creates what is missing, with one replica, and corrects what differs, so that a change of retention takes effect.
// The number of replicas of what is there stays: replicate changes it.
func ensureStreams(ctx context.Context, js jetstream.JetStream, c contract.BrokerConfig) error {
	for _, s := range mqttStreams(c) {
		var err error
		if s.Replicas, err = replicasOf(ctx, js, s.Name); err != nil {
			return err
		}
		if _, err := js.CreateOrUpdateStream(ctx, s); err != nil {
			return fmt.Errorf("stream %s: %w", s.Name, err)
		}
	}
	for _, b := range buckets() {
		var err error
		if b.Replicas, err = replicasOf(ctx, js, "KV_"+b.Bucket); err != nil {
			return err
		}
		if _, err := js.CreateOrUpdateKeyValue(ctx, b); err != nil {
			return fmt.Errorf("bucket %s: %w", b.Bucket, err)
		}
	}
	replicas, err := replicasOf(ctx, js, bundleStream)
	if err != nil {
		return err
	}
	_, err = js.CreateOrUpdateObjectStore(ctx, jetstream.ObjectStoreConfig{Bucket: contract.BundleStore,
		Description: "Signed bundles by content", Storage: jetstream.FileStorage, Replicas: replicas, MaxBytes: bundleBytes})
	if err != nil {
		return fmt.Errorf("object store %s: %w", contract.BundleStore, err)
	}
	return nil
}

// replicasOf gives the replicas of a stream; one where it is not there.
func replicasOf(ctx context.Context, js jetstream.JetStream, stream string) (int, error) {
	s, err := js.Stream(ctx, stream)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return 1, nil
	}
	if err != nil {
		return 0, fmt.Errorf("stream %s: %w", stream, err)
	}
	return s.CachedInfo().Config.Replicas, nil
}

// mqttStreams are the streams that the server would otherwise make for itself, the ingest log first. Subjects and messages
// per subject are what it looks for; the bounds are ours.
func mqttStreams(c contract.BrokerConfig) []jetstream.StreamConfig {
	return []jetstream.StreamConfig{
		{Name: contract.IngestStream, Description: "Ingest log: what was acknowledged", Subjects: []string{"$MQTT.msgs.>"},
			Storage: jetstream.FileStorage, Retention: jetstream.LimitsPolicy, Discard: jetstream.DiscardNew,
			MaxAge: time.Duration(c.Ingest.MaxAgeSeconds) * time.Second, MaxBytes: c.Ingest.MaxBytes},
		{Name: "$MQTT_sess", Subjects: []string{"$MQTT.sess.>"}, Storage: jetstream.FileStorage, Retention: jetstream.LimitsPolicy,
			MaxMsgsPerSubject: 1, MaxAge: sessionLife, MaxBytes: sessionBytes},
		{Name: "$MQTT_rmsgs", Subjects: []string{"$MQTT.rmsgs.>"}, Storage: jetstream.FileStorage, Retention: jetstream.LimitsPolicy,
			MaxMsgsPerSubject: 1, MaxBytes: retainedBytes},
		// QoS 2 is refused; the server wants these two all the same.
		{Name: "$MQTT_qos2in", Subjects: []string{"$MQTT.qos2.in.>"}, Storage: jetstream.FileStorage, Retention: jetstream.LimitsPolicy,
			Discard: jetstream.DiscardNew, DiscardNewPerSubject: true, MaxMsgsPerSubject: 1, MaxBytes: 1 << 20},
		{Name: "$MQTT_out", Subjects: []string{"$MQTT.out.>"}, Storage: jetstream.FileStorage, Retention: jetstream.InterestPolicy,
			MaxBytes: 1 << 20},
	}
}

func buckets() []jetstream.KeyValueConfig {
	return []jetstream.KeyValueConfig{
		{Bucket: contract.LeaseBucket, Description: "Signed leases by scope", History: 4, Storage: jetstream.FileStorage,
			MaxBytes: bucketBytes},
		{Bucket: contract.ReportBucket, Description: "Reports by role and instance", History: 1, TTL: reportLife,
			Storage: jetstream.FileStorage, MaxBytes: bucketBytes},
		{Bucket: contract.EnrolledBucket, Description: "Devices that open enrolment took in", History: 1, Storage: jetstream.FileStorage,
			MaxBytes: enrolledBytes},
	}
}
