'use strict';

// Required by path, by workers and by the workflow bundler. Node 20 requires no TypeScript, so this is CommonJS.

const { DefaultFailureConverter } = require('@temporalio/common');

/** Puts messages and stacks of errors into payloads, which the codec of the app encodes. */
exports.failureConverter = new DefaultFailureConverter({ encodeCommonAttributes: true });

/** A text that is in each workflow bundle with this converter, and in no other: so a worker tells them apart. */
exports.BUNDLE_TAG = 'temporal-batch-jobs: errors of the workflows of this bundle are encoded';
