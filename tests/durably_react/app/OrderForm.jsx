import { createDurably } from "@coji/durably-react";

const durably = createDurably({ api: "/api/durably" });

/** Triggers the job process-order, and follows its run. */
export function OrderForm() {
  const order = durably.processOrder.useJob();

  async function submit(form) {
    await order.trigger({ order_id: form.get("order_id") });
  }

  return (
    <form action={submit}>
      <input name="order_id" aria-label="Order" required />
      <button disabled={order.isActive}>Charge</button>
      <p role="status">{order.status}</p>
      {order.progress && (
        <progress value={order.progress.current} max={order.progress.total} />
      )}
      <ol>
        {order.logs.map((line) => (
          <li key={line.id}>{line.message}</li>
        ))}
      </ol>
      {order.isCompleted && <p>Charged and confirmed.</p>}
      {order.isFailed && <p role="alert">{order.error}</p>}
    </form>
  );
}
