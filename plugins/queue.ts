export { UnrecoverableError } from 'bullmq'
export { listDeadLetters, retryDeadLetters, type DeadLetter } from './queue/dead-letters.js'
export { enqueue, type Enqueue, type EnqueueOptions } from './queue/enqueue.js'
export type {
  DeliveryQueue, KnownDelivery, QueuedAghanim, QueuedAltDentifier, QueuedDelivery, QueuedIdentityValidation
} from './queue/queued.js'
export { createWorker, type DeliveryWorker, type HandleDelivery, type WorkerOptions } from './queue/worker.js'
