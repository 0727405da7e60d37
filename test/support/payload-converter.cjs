'use strict';

// A payload converter of an app. Required by path, by workers and by the workflow bundler.

const { CompositePayloadConverter, UndefinedPayloadConverter } = require('@temporalio/common');

const encoding = new TextEncoder().encode('json/own');

class OwnConverter {
  encodingType = 'json/own';

  toPayload(value) {
    if (value === undefined) return undefined;
    return { metadata: { encoding }, data: new TextEncoder().encode(JSON.stringify({ own: value })) };
  }

  fromPayload({ data }) {
    return JSON.parse(new TextDecoder().decode(data)).own;
  }
}

exports.payloadConverter = new CompositePayloadConverter(new UndefinedPayloadConverter(), new OwnConverter());
