package fleetverify

import (
	"bytes"
	"context"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"

	"github.com/dizuo/dizuo/internal/contract"
)

// oversized is the length of a payload that no engine takes: NATS is bound to 1 MiB, EMQX to 64 KiB.
const oversized = 1<<20 + 1<<10

// publish checks what the device may send. A PUBACK for an own topic counts as acceptance only beside the counter of violations: MQTT 3.1.1
// has no way to refuse a publish, so a broker acknowledges what it drops.
func (r *run) publish() {
	if r.Profile == nil {
		r.block(say("Not tried: without a profile no harmless payload is known; give --profile.", "未尝试：没有物模型就无法构造无害报文；请给出 --profile。"), GroupPublish)
		return
	}
	before, counted := r.count()
	r.ownTopics()
	dropped := r.ownCommands()
	if wrong := r.wrongTopics(); wrong.err == nil {
		r.judge(before, counted, wrong, dropped)
	}
	r.qos2()
	r.oversize()
}

// reading is what the counter said at the start.
type reading struct {
	violations int64
	err        error
}

func (r *run) count() (reading, bool) {
	if r.Counter == nil {
		return reading{}, false
	}
	n, err := r.Counter.Violations(r.ctx)
	return reading{n, err}, true
}

// ownTopics publishes to the device's own topics and wants a PUBACK and a connection that goes on.
func (r *run) ownTopics() {
	channels := []contract.Channel{contract.ChannelTelemetry, contract.ChannelState}
	if r.AllowSignals {
		channels = contract.UpChannels()
	} else {
		for _, c := range []contract.Channel{contract.ChannelSignal, contract.ChannelAck} {
			r.unproven("publish."+string(c), "Not tried: a message there may open a case or answer a command.", "未尝试：该主题的消息可能立案或应答命令。")
		}
	}
	for _, c := range channels {
		id := "publish." + string(c)
		s, err := r.own()
		if err == nil {
			err = s.publish(r.topic(c), r.harmless())
		}
		if err == nil {
			r.report.Sent++
			err = s.ping()
		}
		s.close()
		if err != nil {
			r.notAccepted(id, err)
			continue
		}
		r.passed(id, "PUBACK for %s, and the connection went on. Whether the platform kept it is told by publish.wrong-topics and by the platform's own records: look for the id %s.",
			"%s 收到 PUBACK，连接保持。平台是否保存，以 publish.wrong-topics 与平台记录为准：可查找 id %s。", r.topic(c), r.mark)
	}
}

// ownCommands publishes to the one wrong topic that the device itself may hear: what comes back was not refused. It gives how many messages
// the platform must have counted for it.
func (r *run) ownCommands() (dropped int64) {
	const id = "publish.own-commands"
	topic, payload := r.topic(contract.ChannelCommand), r.harmless()
	s, err := r.own()
	defer s.close()
	if err == nil {
		_, err = s.subscribe(topic, 0)
	}
	if err == nil {
		err = s.publish(topic, payload)
	}
	if closed(err) {
		r.passed(id, "The broker closed the connection when %s was published to.", "向 %s 发送时服务端断开连接。", topic)
		return 0
	}
	if err == nil {
		dropped = 1
	}
	if err == nil {
		_, err = await[*packets.PingrespPacket](s, r.Quiet) // none was asked for: this listens until the time is over
	}
	for _, m := range s.messages() {
		if bytes.Equal(m.Payload, payload) {
			r.failed(id, "What the device published to %s came back to it.", "设备发送到 %s 的内容被投递回自身。", topic)
			return 0
		}
	}
	if plain(err) != "timeout" {
		r.unproven(id, "No answer that says yes or no: %s.", "未得到明确答复：%s。", plain(err))
		return dropped
	}
	r.passed(id, "Nothing came back from %s within %s, while the device was subscribed to it.", "设备已订阅 %s，%s 内未收到回传。", topic, r.Quiet)
	return dropped
}

func (s *session) messages() []*packets.PublishPacket {
	if s == nil {
		return nil
	}
	return s.heard
}

// attempts are publishes to topics that are not the device's.
type attempts struct {
	acked, ended int
	err          error
}

// wrongTopics publishes where the device must not.
func (r *run) wrongTopics() (a attempts) {
	fleet, device := r.Connection.Fleet, r.Device.Name
	var s *session
	defer func() { s.close() }()
	for _, topic := range []string{
		contract.DeviceTopic(fleet, nobody, contract.ChannelTelemetry),
		contract.DeviceTopic(nobody, device, contract.ChannelTelemetry),
		"dizuo/v1/c/" + nobody + "/" + fleet + "/" + device + "/telemetry",
		contract.PlatformTopic(fleet, contract.PlatformUp),
		r.topic("telemetry/x"),
		"$MQTT/msgs/dizuo/v1/d/" + fleet + "/" + nobody + "/telemetry",
		"$SYS/" + nobody,
	} {
		if s == nil {
			if s, a.err = r.own(); a.err != nil {
				break
			}
		}
		switch err := s.publish(topic, r.harmless()); {
		case closed(err):
			a.ended++
			s.close()
			s = nil
		case err != nil:
			a.err = err
		default:
			a.acked++
		}
		if a.err != nil {
			break
		}
	}
	if a.err != nil {
		r.unproven("publish.wrong-topics", "No answer that says yes or no: %s.", "未得到明确答复：%s。", plain(a.err))
	}
	return a
}

// judge looks for the refusals in the platform's own count; dropped are messages that it must have counted beside them.
func (r *run) judge(before reading, counted bool, a attempts, dropped int64) {
	const id = "publish.wrong-topics"
	want := int64(a.acked) + dropped
	switch {
	case a.acked == 0:
		r.passed(id, "The broker closed the connection for each of %d topics.", "%d 个主题均被服务端断开连接。", a.ended)
		return
	case !counted:
		r.unproven(id, "%d messages were acknowledged, as MQTT 3.1.1 asks even for those that are dropped. Only the platform's count of violations shows that they were; it was not read.",
			"%d 条消息得到 PUBACK：MQTT 3.1.1 对被丢弃的消息同样如此。只有平台的越权计数可以证明，本次未读取。", a.acked)
		return
	case before.err != nil:
		r.unproven(id, "The count of violations could not be read: %s.", "无法读取越权计数：%s。", before.err)
		return
	case r.Counter.Engine(r.ctx) == "EMQX":
		r.unproven(id, "%d messages were acknowledged. The platform's broker is EMQX, which drops without counting: its own log is the proof.",
			"%d 条消息得到 PUBACK。平台使用 EMQX，丢弃时不计数：以其日志为证。", a.acked)
		return
	}
	r.Progress(say("waiting for the platform's count of violations", "等待平台的越权计数"))
	after, err := r.settle(before.violations + want)
	r.weigh(id, before.violations, after, want, err)
}

// weigh judges what the counter said in the end.
func (r *run) weigh(id string, before, after, want int64, err error) {
	span := []any{before, after, want}
	switch grown := after - before; {
	case err != nil:
		r.unproven(id, "The count of violations could not be read: %s.", "无法读取越权计数：%s。", err)
	case grown == want:
		r.passed(id, "The fleet's count of violations went from %d to %d: exactly the %d messages to wrong topics, and none of those to own topics.",
			"批次越权计数由 %d 变为 %d：恰为发往错误主题的 %d 条，自己主题的消息未被计入。", span...)
	case grown > want:
		r.unproven(id, "The fleet's count of violations went from %d to %d, by more than the %d messages to wrong topics: another device of the fleet sends where it must not, or own messages were dropped. Run again while the fleet is quiet.",
			"批次越权计数由 %d 变为 %d，多于发往错误主题的 %d 条：批次内另有设备越权，或自己的消息被丢弃。请在批次静默时重试。", span...)
	case grown == 0 && r.Counter.Engine(r.ctx) == "":
		r.unproven(id, "The fleet's count of violations stayed at %d (%d) for %d messages. Where the broker is EMQX that is so; which one it is may not be read from here.",
			"批次越权计数保持 %d（%d），应增加 %d。若平台使用 EMQX 则属正常；此处无权读取平台引擎。", span...)
	default:
		r.failed(id, "The fleet's count of violations went from %d to %d only, for %d messages to wrong topics: the others were not refused, or not counted within "+r.Settle.String()+".",
			"批次越权计数仅由 %d 变为 %d，应增加 %d：其余消息未被拒绝，或在 "+r.Settle.String()+" 内未计入。", span...)
	}
}

// settle reads the counter until it reaches what is wanted, or the time is over.
func (r *run) settle(want int64) (n int64, err error) {
	ctx, cancel := context.WithTimeout(r.ctx, r.Settle)
	defer cancel()
	tick := time.NewTicker(r.Poll)
	defer tick.Stop()
	for {
		read, failure := r.Counter.Violations(ctx)
		switch {
		case failure == nil:
			n, err = read, nil
		case ctx.Err() == nil:
			err = failure
		}
		if err == nil && n >= want {
			return n, nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return n, err
		}
	}
}

// qos2 wants a publish at QoS 2 refused: the broker would store it before it looks at the topic.
func (r *run) qos2() {
	const id = "publish.qos-2"
	s, err := r.own()
	defer s.close()
	if err == nil {
		_, err = request[*packets.PubrecPacket](s, s.message(r.topic(contract.ChannelTelemetry), 2, r.harmless()))
	}
	r.wantClosed(id, err, say("A message at QoS 2 was taken (PUBREC).", "QoS 2 消息被接受（PUBREC）。"))
}

// oversize wants a message beyond all limits refused.
func (r *run) oversize() {
	const id = "publish.oversized"
	s, err := r.own()
	defer s.close()
	if err == nil {
		err = s.publish(r.topic(contract.ChannelTelemetry), make([]byte, oversized))
	}
	r.wantClosed(id, err, say("A message of %d bytes was acknowledged.", "%d 字节的消息得到确认。", oversized))
}

// wantClosed judges an attempt that must end the connection, and wants the device welcome after it.
func (r *run) wantClosed(id string, err error, taken Text) {
	if err == nil {
		r.set(id, Failed, taken)
		return
	}
	if !closed(err) {
		r.unproven(id, "No answer that says yes or no: %s.", "未得到明确答复：%s。", plain(err))
		return
	}
	control, err := r.own()
	control.close()
	if err != nil {
		r.unproven(id, "The connection ended, but the device itself was not let in after that either: %s.", "连接被断开，但随后设备自身也未能接入：%s。", plain(err))
		return
	}
	r.passed(id, "The broker closed the connection; right after that the device itself was let in.", "服务端断开连接；随后设备自身仍可接入。")
}
