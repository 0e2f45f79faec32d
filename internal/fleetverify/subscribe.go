package fleetverify

import (
	"strings"

	"github.com/dizuo/dizuo/internal/contract"
)

// subackFailure is the code of a SUBACK that grants nothing.
const subackFailure = 0x80

// subscribe checks what the device may hear. What is granted against the rules is never read: its session is closed at once.
func (r *run) subscribe() {
	cmd, desired := r.topic(contract.ChannelCommand), r.topic(contract.ChannelDesired)
	fleet, own := r.Connection.Fleet, "dizuo/v1/d/"+r.Connection.Fleet+"/"
	r.granted("subscribe.own-commands", cmd)
	r.granted("subscribe.own-desired", desired)
	r.denied("subscribe.qos-1", 1, cmd, desired)
	r.denied("subscribe.wildcards", 0, "#", "+/#", "dizuo/#", "+/+/+/+/+/+", own+"+/cmd", own+"#", own+r.Device.Name+"/#", own+r.Device.Name+"/+")
	r.denied("subscribe.other-device", 0, contract.DeviceTopic(fleet, nobody, contract.ChannelCommand), contract.DeviceTopic(fleet, nobody, contract.ChannelDesired),
		contract.DeviceTopic(fleet, nobody, contract.ChannelSignal), r.topic(contract.ChannelSignal), r.topic(contract.ChannelTelemetry))
	r.denied("subscribe.other-fleet", 0, contract.DeviceTopic(nobody, r.Device.Name, contract.ChannelCommand), "dizuo/v1/d/"+nobody+"/#", "dizuo/v1/d/+/"+r.Device.Name+"/cmd")
	r.denied("subscribe.shared", 0, "$share/"+nobody+"/#", "$share/"+nobody+"/"+cmd, "$share/"+nobody+"/"+own+"#")
	r.denied("subscribe.system", 0, "$SYS/#", "$JS/#", "$KV/#", "$MQTT/msgs/#", "$share/#")
	r.denied("subscribe.community", 0, "dizuo/v1/c/#", "dizuo/v1/c/"+nobody+"/"+fleet+"/"+r.Device.Name+"/signal", contract.PlatformTopic(fleet, contract.PlatformDown), "dizuo/v1/e/#")
}

func (r *run) granted(id, topic string) {
	s, err := r.own()
	var code byte
	if err == nil {
		code, err = s.subscribe(topic, 0)
	}
	s.close()
	switch {
	case err != nil:
		r.notAccepted(id, err)
	case code != 0:
		r.failed(id, "SUBACK %#02x for %s.", "SUBACK %#02x：%s。", code, topic)
	default:
		r.passed(id, "SUBACK 0 for %s.", "SUBACK 0：%s。", topic)
	}
}

// denied wants every topic refused: by SUBACK 0x80, or by the end of the connection.
func (r *run) denied(id string, qos byte, topics ...string) {
	var granted []string
	var ended int
	var s *session
	defer func() { s.close() }()
	for _, topic := range topics {
		if s == nil {
			var err error
			if s, err = r.own(); err != nil {
				r.unproven(id, "The device was let in no more before %s could be tried: %s.", "尝试 %s 前设备已不能接入：%s。", topic, plain(err))
				return
			}
		}
		code, err := s.subscribe(topic, qos)
		switch {
		case closed(err):
			ended++
		case err != nil:
			r.unproven(id, "No answer that says yes or no for %s: %s.", "%s 未得到明确答复：%s。", topic, plain(err))
			return
		case code != subackFailure:
			granted = append(granted, topic)
		default:
			continue
		}
		s.close()
		s = nil
	}
	if len(granted) > 0 {
		r.failed(id, "Granted: %s.", "被允许：%s。", strings.Join(granted, ", "))
		return
	}
	// The last word is that the device itself is still welcome: only then was it the topic that was refused.
	if s == nil {
		var err error
		if s, err = r.own(); err != nil {
			r.unproven(id, "The device was let in no more: %s.", "设备已不能接入：%s。", plain(err))
			return
		}
	}
	if err := s.ping(); err != nil {
		r.unproven(id, "The connection did not last: %s.", "连接未能保持：%s。", plain(err))
		return
	}
	r.passed(id, "%d topics refused with SUBACK 0x80, %d by the end of the connection: %s.", "%d 个主题以 SUBACK 0x80 拒绝，%d 个以断开连接拒绝：%s。", len(topics)-ended, ended, strings.Join(topics, ", "))
}
